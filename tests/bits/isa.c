/* Prints the instruction sets that run here, best first, and the one that RNNFAST_ISA or the dispatch chooses:
 * "avx2 of avx512 avx2 scalar". 2: no such instruction set in this build; 3: this machine does not run it. */
#include "dispatch.h"

#include <stdio.h>
#include <stdlib.h>

int main(void)
{
    const char *wanted = getenv("RNNFAST_ISA");
    const Implementation *chosen = find_implementation(wanted && *wanted ? wanted : NULL);

    if (!chosen) return 2;
    if (!chosen->runs_here()) return 3;
    printf("%s of", chosen->name);
    for (const Implementation *one = implementations; one->name; one++)
        if (one->runs_here()) printf(" %s", one->name);
    printf("\n");
    return 0;
}
