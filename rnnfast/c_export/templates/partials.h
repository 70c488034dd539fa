/* ---- Sums for normalization: number k is in partial sum k mod 16; the partial sums are then added in pairs --------------- */

enum { NAME_partials = 16 };
