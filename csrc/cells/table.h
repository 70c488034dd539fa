/* The table of cells: one row for each cell, read by the kernels, the time loops and, through them, by Python.
 *
 * A cell keeps S slots of H numbers for each (step, row) in one buffer, `gates`. The product of the input, W_ih x, fills the
 * first X slots; the product of the state, W_hh h_prev, adds to the last G slots. A cell without a product of the state has
 * G = 0. Weights are stored in blocks of H rows, one for each gate, in the order of `gates`; x_block and h_block say which
 * block belongs to which slot.
 *
 *     rnn           a          S 1  X 1  G 1
 *     lstm          i f g o    S 4  X 4  G 4
 *     lstm_coupled  i g o      S 3  X 3  G 3      f = 1 - i
 *     gru           n r z q    S 4  X 3  G 3      q = W_hn h + b_hn, the state's part of the candidate n
 *     gru_before    n r z      S 3  X 3  G 2      r acts before the product with W_hn
 *     indrnn        a          S 1  X 1  G 0      an element-wise recurrence
 *     slstm         i f z o    S 4  X 4  G 4      exponential gates
 *     mingru        z h        S 2  X 2  G 0      gates of the input alone; h is the candidate
 *     minlstm       f i h      S 3  X 3  G 0      likewise
 *
 * Layer normalization surrounds a cell: rnn_norm, lstm_norm, gru_norm, lstm_coupled_norm. It keeps both products apart, so S = X
 * + G, and the second half of the slots has the order of the cell's last G slots (cells/norm.h).
 *
 * A step runs in phases. A phase starts when all units of its rows have finished the phase before, so it may read whole rows
 * of what that one wrote. Most cells have one phase. A second product within a step, W_m m, is a phase of its own: lstm and
 * lstm_coupled have it where weight_hr is given, gru_before always.
 *
 *     lstm, lstm_coupled    m = o tanh(c)    W_m = weight_hr [P, H]             h = W_m m
 *     gru_before            m = r h_prev     W_m = block n of weight_hh [H, H]  n = tanh(slot n + W_m m)
 *
 * Some weights are vectors of H numbers that multiply element by element: the gradient of such a weight is the sum over all
 * rows of (the gradient in its slot) * (its operand, a part of the state).
 *
 * A cell may divide its units into heads of D = H / heads units. The product of the state then has one product for each head,
 * which reads and adds to the head's own units: weight_hh is [G*H, D]. `gates` holds the slots of the first head, D numbers
 * each, then those of the next. Such a cell has S = X = G.
 */
#ifndef RNNFAST_CELLS_TABLE_H
#define RNNFAST_CELLS_TABLE_H

#include "rows.h"

/* The weights of a layer in one direction; the first ones in the order of rnnfast_weights (rnnfast.h). */
enum {
    WEIGHT_IH, WEIGHT_HH, BIAS_IH, BIAS_HH, WEIGHT_HR, WEIGHT_CI, WEIGHT_CF, WEIGHT_CO,
    LN_IH_WEIGHT, LN_IH_BIAS, LN_HH_WEIGHT, LN_HH_BIAS, LN_C_WEIGHT, LN_C_BIAS, WEIGHTS
};

enum { MAX_PARTS = 4, MAX_PHASES = 4, MAX_VECTORS = 3 };
enum { PART_H, PART_C, PART_N, PART_M }; /* parts of a state; h, which is also the output, comes first */

/* Which value of the state a vector multiplies: PREVIOUS + a part before the step, PRESENT + a part after it. */
enum { PREVIOUS = 0, PRESENT = MAX_PARTS };

typedef struct {
    int weight, slot, operand;
} VectorWeight;

/* What the groups of a phase divide: hidden units as W_hh is packed for the forward step, hidden units in a flat packing, the P
 * numbers of h, or the rows of the batch. */
enum { NO_PHASE, STEP_UNITS, HIDDEN_UNITS, OUTPUT_UNITS, WHOLE_ROWS };

/* A phase of a step; the cell's file has its function. */
typedef struct {
    int units;                /* NO_PHASE ends a list */
    int needs, excludes;      /* it runs where all of the first weights are given and none of the second, a bit each */
} Phase;

enum { NO_SLOT = -1 };

typedef struct {
    const char *name;
    const char *layer;        /* the name of its pair of functions, and of its class in lower case */
    const char *option;       /* the keyword argument of the layer that selects this row, or NULL */
    int option_value;         /* the value of that argument, as a truth value, which selects this row */
    int plain;                /* the row without layer normalization, which `layer_norm` selects as well; or this row itself */
    const char *gates;        /* the blocks of weight_ih, one letter each */
    const char *parts;        /* the parts of the state, one letter each */
    int S, X, G;
    int heads;                /* whether its units may be divided into heads */
    int unbounded;            /* whether |h| may pass 1, whatever the nonlinearity */
    int x_block[MAX_SLOTS];   /* slot n of the input, n < X: block of weight_ih and bias_ih */
    int h_block[MAX_SLOTS];   /* slot S - X + n of the state, n < X: block of weight_hh and bias_hh */
    int required, optional;   /* sets of weights, a bit each: 1 << WEIGHT_IH */
    Phase forward[MAX_PHASES], backward[MAX_PHASES]; /* in their order; the first one backward also runs at step -1 */
    int m_weight, m_block;    /* W_m is this block of this weight; m_weight 0: no second product */
    int m_slot;               /* the slot that W_m m is added to; NO_SLOT: W_m m is h, and its gradient has a buffer of its own */
    int vectors;              /* how many weights are vectors */
    VectorWeight vector[MAX_VECTORS];
} CellInfo;

#define BIT(weight) (1 << (weight))
#define DENSE (BIT(WEIGHT_IH) | BIT(WEIGHT_HH))
#define BIASES (BIT(BIAS_IH) | BIT(BIAS_HH))

#define ONE_PHASE .forward = {{STEP_UNITS}}, .backward = {{OUTPUT_UNITS}}
/* The first backward phase of a projected cell keeps dh for the product with W_m; the cell follows in the second. */
#define PROJECTION \
    .forward = {{STEP_UNITS}, {OUTPUT_UNITS, .needs = BIT(WEIGHT_HR)}}, \
    .backward = {{OUTPUT_UNITS, .excludes = BIT(WEIGHT_HR)}, {OUTPUT_UNITS, .needs = BIT(WEIGHT_HR)}, \
                 {HIDDEN_UNITS, .needs = BIT(WEIGHT_HR)}}, \
    .m_weight = WEIGHT_HR, .m_slot = NO_SLOT

#define NORMS (BIT(LN_IH_WEIGHT) | BIT(LN_IH_BIAS) | BIT(LN_HH_WEIGHT) | BIT(LN_HH_BIAS))
#define C_NORMS (BIT(LN_C_WEIGHT) | BIT(LN_C_BIAS))
/* Backward, the first phases keep dh, or with a projection dm, for the phase over whole rows. */
#define ROW_PHASES \
    .forward = {{STEP_UNITS}, {WHOLE_ROWS}, {OUTPUT_UNITS, .needs = BIT(WEIGHT_HR)}}, \
    .backward = {{OUTPUT_UNITS, .excludes = BIT(WEIGHT_HR)}, {OUTPUT_UNITS, .needs = BIT(WEIGHT_HR)}, \
                 {HIDDEN_UNITS, .needs = BIT(WEIGHT_HR)}, {WHOLE_ROWS}}

/* CELL(number, name, fields): the cell's file, csrc/cells/, defines the functions of its phases as name_forward and
 * name_backward. The first rows are the cells of rnnfast.h, in its order. */
#define CELL_TABLE(CELL) \
    CELL(RNN, rnn, .plain = RNN, .layer = "rnn", .gates = "a", .parts = "h", .S = 1, .X = 1, .G = 1, \
         .required = DENSE, .optional = BIASES, ONE_PHASE) \
    CELL(LSTM, lstm, .plain = LSTM, .layer = "lstm", .option = "coupled_gates", .option_value = 0, .gates = "ifgo", .parts = "hc", \
         .S = 4, .X = 4, .G = 4, .x_block = {0, 1, 2, 3}, .h_block = {0, 1, 2, 3}, .required = DENSE, \
         .optional = BIASES | BIT(WEIGHT_HR) | BIT(WEIGHT_CI) | BIT(WEIGHT_CF) | BIT(WEIGHT_CO), PROJECTION, \
         .vectors = 3, .vector = {{WEIGHT_CI, 0, PREVIOUS + PART_C}, {WEIGHT_CO, 3, PRESENT + PART_C}, \
                                  {WEIGHT_CF, 1, PREVIOUS + PART_C}}) \
    CELL(GRU, gru, .plain = GRU, .layer = "gru", .option = "reset_after", .option_value = 1, .gates = "rzn", .parts = "h", \
         .S = 4, .X = 3, .G = 3, .x_block = {2, 0, 1}, .h_block = {0, 1, 2}, .required = DENSE, .optional = BIASES, \
         ONE_PHASE) \
    CELL(LSTM_COUPLED, lstm_coupled, .plain = LSTM_COUPLED, .layer = "lstm", .option = "coupled_gates", .option_value = 1, .gates = "igo", \
         .parts = "hc", .S = 3, .X = 3, .G = 3, .x_block = {0, 1, 2}, .h_block = {0, 1, 2}, .required = DENSE, \
         .optional = BIASES | BIT(WEIGHT_HR) | BIT(WEIGHT_CI) | BIT(WEIGHT_CO), PROJECTION, \
         .vectors = 2, .vector = {{WEIGHT_CI, 0, PREVIOUS + PART_C}, {WEIGHT_CO, 2, PRESENT + PART_C}}) \
    CELL(GRU_BEFORE, gru_before, .plain = GRU_BEFORE, .layer = "gru", .option = "reset_after", .option_value = 0, .gates = "rzn", .parts = "h", \
         .S = 3, .X = 3, .G = 2, .x_block = {2, 0, 1}, .h_block = {2, 0, 1}, .required = DENSE, .optional = BIASES, \
         .forward = {{STEP_UNITS}, {HIDDEN_UNITS}}, .backward = {{OUTPUT_UNITS}, {HIDDEN_UNITS}}, \
         .m_weight = WEIGHT_HH, .m_block = 2, .m_slot = 0) \
    CELL(INDRNN, indrnn, .plain = INDRNN, .layer = "indrnn", .gates = "a", .parts = "h", .S = 1, .X = 1, .G = 0, .required = DENSE, \
         .optional = BIT(BIAS_IH), ONE_PHASE, .vectors = 1, .vector = {{WEIGHT_HH, 0, PREVIOUS + PART_H}}) \
    CELL(MINGRU, mingru, .plain = MINGRU, .layer = "mingru", .gates = "zh", .parts = "h", .S = 2, .X = 2, .G = 0, \
         .x_block = {0, 1}, .required = BIT(WEIGHT_IH), .optional = BIT(BIAS_IH), ONE_PHASE) \
    CELL(MINLSTM, minlstm, .plain = MINLSTM, .layer = "minlstm", .gates = "fih", .parts = "h", .S = 3, .X = 3, .G = 0, \
         .x_block = {0, 1, 2}, .required = BIT(WEIGHT_IH), .optional = BIT(BIAS_IH), ONE_PHASE) \
    CELL(RNN_NORM, rnn_norm, .plain = RNN, .layer = "rnn", .gates = "a", .parts = "h", .S = 2, .X = 1, .G = 1, \
         .required = DENSE | NORMS, .optional = BIASES, ROW_PHASES) \
    CELL(LSTM_NORM, lstm_norm, .plain = LSTM, .layer = "lstm", .option = "coupled_gates", .option_value = 0, .gates = "ifgo", \
         .parts = "hc", .S = 8, .X = 4, .G = 4, .x_block = {0, 1, 2, 3}, .h_block = {0, 1, 2, 3}, \
         .required = DENSE | NORMS | C_NORMS, \
         .optional = BIASES | BIT(WEIGHT_HR) | BIT(WEIGHT_CI) | BIT(WEIGHT_CF) | BIT(WEIGHT_CO), ROW_PHASES, \
         .m_weight = WEIGHT_HR, .m_slot = NO_SLOT, .vectors = 3, \
         .vector = {{WEIGHT_CI, 0, PREVIOUS + PART_C}, {WEIGHT_CO, 3, PRESENT + PART_C}, {WEIGHT_CF, 1, PREVIOUS + PART_C}}) \
    CELL(GRU_NORM, gru_norm, .plain = GRU, .layer = "gru", .option = "reset_after", .option_value = 1, .gates = "rzn", \
         .parts = "h", .S = 6, .X = 3, .G = 3, .x_block = {2, 0, 1}, .h_block = {0, 1, 2}, .required = DENSE | NORMS, \
         .optional = BIASES, ROW_PHASES) \
    CELL(LSTM_COUPLED_NORM, lstm_coupled_norm, .plain = LSTM_COUPLED, .layer = "lstm", .option = "coupled_gates", \
         .option_value = 1, .gates = "igo", .parts = "hc", .S = 6, .X = 3, .G = 3, .x_block = {0, 1, 2}, \
         .h_block = {0, 1, 2}, .required = DENSE | NORMS | C_NORMS, \
         .optional = BIASES | BIT(WEIGHT_HR) | BIT(WEIGHT_CI) | BIT(WEIGHT_CO), ROW_PHASES, \
         .m_weight = WEIGHT_HR, .m_slot = NO_SLOT, .vectors = 2, \
         .vector = {{WEIGHT_CI, 0, PREVIOUS + PART_C}, {WEIGHT_CO, 2, PRESENT + PART_C}}) \
    CELL(SLSTM, slstm, .plain = SLSTM, .layer = "slstm", .gates = "ifzo", .parts = "hcnm", .S = 4, .X = 4, .G = 4, .heads = 1, \
         .unbounded = 1, .x_block = {0, 1, 2, 3}, .h_block = {0, 1, 2, 3}, .required = DENSE, .optional = BIT(BIAS_IH), ONE_PHASE)

#define CELL_NUMBER(number, name, ...) number,
enum { CELL_TABLE(CELL_NUMBER) CELLS };
#undef CELL_NUMBER

extern const CellInfo cell_table[CELLS];
extern const char *const weight_names[WEIGHTS];

/* Whether this weight of the cell multiplies element by element, and is [H]. */
int is_vector(const CellInfo *cell, int weight);

/* The number of the first row of a layer that this value of its option selects, or if it is negative, any value, with or without
 * layer normalization. -1: none. */
int find_cell(const char *layer, int option_value, int layer_norm);

/* An axis of a weight has `times` numbers for each input, for each of the H hidden units, for each of the P numbers of h, or for
 * each of the D units of a head. */
enum { PER_INPUT, PER_HIDDEN, PER_OUTPUT, PER_HEAD_UNIT };

typedef struct {
    int times, per;
} Axis;

/* The axes of a weight: the result is how many, 1 or 2. */
int weight_axes(const CellInfo *cell, int weight, Axis axes[2]);

/* How many numbers a weight has; 0 if the cell has no such weight. */
ptrdiff_t weight_size(const CellInfo *cell, int weight, ptrdiff_t inputs, ptrdiff_t H, ptrdiff_t P, ptrdiff_t D);

#endif
