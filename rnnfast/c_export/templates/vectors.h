/* ---- Vectors ----------------------------------------------------------------------------------------------------------- */

static inline void NAME_clear(int n, float *out)
{
    for (int i = 0; i < n; i++) out[i] = 0.0f;
}
static inline void NAME_copy(int n, const float *x, float *out)
{
    for (int i = 0; i < n; i++) out[i] = x[i];
}
