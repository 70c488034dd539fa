/* Many threads call the C API at once, with plans of their own, and get the bits of one thread alone; then a forked child does.
 * Built with ThreadSanitizer, it looks for races in the pool and the plans. Usage: callers ROUNDS rows|units */
#include "plans.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 4, PROBLEMS = 8, T = 5, B = 6, I = 7, H = 40, BIASED = 15 };

typedef struct {
    Sizes sizes;
    rnnfast_weights *weights;
    void *x, *y, *dx;  /* y and dx as one thread alone computes them */
    rnnfast_weights *gradients;
    ptrdiff_t y_bytes, dx_bytes;
} Problem;

static Problem problems[PROBLEMS];
static int rounds;
static atomic_int wrong;

/* One call of everything, on `threads` threads, into arrays of the caller's. */
static int compute(const Problem *p, int threads, void *y, void *dx, rnnfast_weights *gradients)
{
    rnnfast_options options = p->sizes.options;
    options.threads = threads;
    rnnfast_plan *plan = rnnfast->create(&options, p->weights);
    if (!plan) return RNNFAST_NO_MEMORY;
    rnnfast_gradients g = rnnfast_no_gradients();
    g.dy = y, g.dx = dx, g.weights = gradients;
    int status = rnnfast->refresh(plan, p->weights);
    if (!status && !options.bidirectional) status = rnnfast->step(plan, p->x, y);
    if (!status) status = rnnfast->reset(plan, NULL);
    if (!status) status = rnnfast->forward(plan, T, p->x, y, NULL, NULL);
    if (!status) status = rnnfast->backward(plan, &g);
    rnnfast->destroy(plan);
    return status;
}

static void check(int right, const char *what)
{
    if (right) return;
    fprintf(stderr, "%s: %s\n", what, rnnfast->last_error());
    atomic_fetch_add(&wrong, 1);
}

static void try_problem(const Problem *p, int threads)
{
    void *y = malloc((size_t)p->y_bytes), *dx = malloc((size_t)p->dx_bytes);
    rnnfast_weights *gradients = make_weights(&p->sizes, BIASED);
    check(!compute(p, threads, y, dx, gradients), "a call failed");
    check(!memcmp(y, p->y, (size_t)p->y_bytes) && !memcmp(dx, p->dx, (size_t)p->dx_bytes), "other bits");
    for (ptrdiff_t n = 0; n < p->sizes.options.num_layers * p->sizes.D; n++)
        for (int w = 0; w < WEIGHTS; w++)
            if (BIASED >> w & 1)
                check(!memcmp(((void **)&gradients[n])[w], ((void **)&p->gradients[n])[w],
                              (size_t)(weight_numbers(&p->sizes, n, w) * p->sizes.size)),
                      "other bits of a gradient");
    free(y), free(dx), free_weights(&p->sizes, gradients);
}

static void *caller(void *argument)
{
    const int first = (int)(intptr_t)argument;
    for (int n = 0; n < rounds; n++) try_problem(&problems[(first * 3 + n) % PROBLEMS], 1 + (first + n) % 4);
    return NULL;
}

static void make_problem(Problem *p, int n)
{
    rnnfast_options o = rnnfast_default_options();
    o.cell = n % 3, o.training = 1, o.threads = 1;
    o.bidirectional = n % 2;
    o.dtype = n == 6 ? RNNFAST_FLOAT64 : RNNFAST_FLOAT32;
    o.matmul_precision = n == 7 ? RNNFAST_BFLOAT16 : RNNFAST_FLOAT32;
    o.input_size = I, o.hidden_size = H, o.num_layers = 1 + n % 2, o.batch = B, o.max_steps = T;
    p->sizes = sizes_of(&o);
    p->weights = make_weights(&p->sizes, BIASED);
    p->gradients = make_weights(&p->sizes, BIASED);
    p->x = numbers(T * B * I, p->sizes.size);
    p->y_bytes = T * B * p->sizes.D * H * p->sizes.size, p->dx_bytes = T * B * I * p->sizes.size;
    p->y = malloc((size_t)p->y_bytes), p->dx = malloc((size_t)p->dx_bytes);
    check(!compute(p, 1, p->y, p->dx, p->gradients), "one thread alone failed");
}

int main(int count, char **arguments)
{
    char program[200];
    pthread_t threads[THREADS];
    if (count != 3) return 2;
    rounds = atoi(arguments[1]);
    snprintf(program, sizeof program, "from rnnfast import _core\n_core.force_split('%.10s')\n", arguments[2]);
    load_table(program);
    for (int n = 0; n < PROBLEMS; n++) make_problem(&problems[n], n);
    for (int n = 0; n < THREADS; n++)
        if (pthread_create(&threads[n], NULL, caller, (void *)(intptr_t)n)) return 2;
    for (int n = 0; n < THREADS; n++) pthread_join(threads[n], NULL);
    const pid_t child = fork();
    if (child == 0) {
        try_problem(&problems[1], 2);
        _exit(atomic_load(&wrong) ? 1 : 0);
    }
    int status = -1;
    check(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the forked child");
    printf("%s: %d calls of %d threads, %d wrong\n", arguments[2], THREADS * rounds, THREADS, atomic_load(&wrong));
    fflush(stdout);
    _exit(atomic_load(&wrong) ? 1 : 0); /* Python stays as it is */
}
