/* ---- The logarithm of the sigmoid -------------------------------------------------------------------------------------- */

/* min(x, 0) - log(1 + z),  z = e^(-|x|),  log(1 + z) = z - (z^2/2 - s (z^2/2 + w R(w))),  s = z / (2 + z),  w = s^2. */
static inline float NAME_log_sigmoid(float x)
{
    const float z = NAME_exp_below(NAME_minus_abs(x)), s = NAME_div(z, NAME_add(2.0f, z)), w = NAME_mul(s, s);
    const float half = NAME_mul(z, NAME_mul(z, 0.5f));
    float r = NAME_fma(0.280244529f, w, 0.279991418f);
    r = NAME_fma(r, w, 0.400216997f);
    r = NAME_fma(r, w, 0.666664124f);
    r = NAME_fnma(s, NAME_fma(r, w, half), half);
    return NAME_sub(0.0f < x ? 0.0f : x, NAME_sub(z, r));
}
