/* Flash images for tests, built word by word. */
#ifndef SLOTS_H
#define SLOTS_H

#include "model.h"

#define SLOT_WORDS 512u

/* A slot with a network and two images for the model: 1 x 3 x 5 pixels go to activation word 2 of both
 * clusters, every second one first; eight words of code; four logits. */
struct built {
    uint32_t words[SLOT_WORDS];
    uint32_t count;
    uint32_t network, images; /* their first words */
    uint32_t steps;           /* first word of the network's steps */
    uint32_t runs;            /* and of its runs */
};

void build_slot(struct built *built, const struct model *model);
/* Compute all checksums again, after a test has changed something. */
void seal(struct built *built);

#endif
