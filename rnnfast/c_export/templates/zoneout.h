/* The expectation of zoneout: z of what a unit was before, and 1 - z of what it is now. */
static inline float NAME_zoned(float z, float before, float now)
{
    return NAME_fma(z, before, NAME_fnma(z, now, now));
}
