/* ---- Vectors ----------------------------------------------------------------------------------------------------------- */

/* out [n] OUT. */
static inline void NAME_clear(int n, float *out)
{
    for (int k = 0; k < n; k++) out[k] = 0.0f;
}
/* x [n] IN, out [n] OUT. */
static inline void NAME_copy(int n, const float *x, float *out)
{
    for (int k = 0; k < n; k++) out[k] = x[k];
}
