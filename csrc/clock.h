/* The clock of waits and measurements: it is never set back. */
#ifndef RNNFAST_CLOCK_H
#define RNNFAST_CLOCK_H

/* Nanoseconds since some moment in the past. */
long long clock_ns(void);

#endif
