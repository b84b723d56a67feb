/* rsr_mkmodel_margin.c - heads whose largest logit is a given number of standard deviations above
 * the mean.
 *
 * A direction d, with one sign per channel, is added to every row of the embedding, and the blocks
 * add little to it (rsr_mkmodel_plan.c): after the final norm every hidden state is about d. A row
 * of the head is Gaussian and of about unit length, so its logit d . row has mean 0 and variance 1.
 * The rows of a few tokens, the winners, keep a quarter of their length and get an addition along
 * d,
 *
 *     row / 4 + (S - d . row / 4) / cols * d,
 *
 * so that their logit is S plus a little from the rest of the hidden state, which decides between
 * them. In a tied head, d is a part of all rows, which moves all logits equally; there a token adds
 * a quarter of its squared row to its own logit.
 */
#include <string.h>

#include "rsr_mkmodel.h"

#define KEPT 0.25

/* The length of a hidden state is fixed: its parts besides d, and the norm's uneven weights, reduce
 * d to about this share. */
#define LEFT_OF_DIRECTION 0.97

bool mkmodel_has_margin(const struct mkmodel_tensor *tensor) {
    return tensor->has_direction || tensor->head_margin > 0;
}

static double direction(uint64_t key, uint64_t col) {
    return mkmodel_mix(key ^ col) & 1 ? 1.0 : -1.0;
}

/* Printable bytes in the synthetic tokenizer, all below 94. */
static uint64_t winner_row(uint32_t winner) {
    return 3 + 11 * (uint64_t)winner;
}

/* MKMODEL_N_WINNERS: none. */
static uint32_t winner_of(const struct mkmodel_tensor *tensor, uint64_t row) {
    uint32_t winner = 0;

    if (tensor->head_margin == 0)
        return MKMODEL_N_WINNERS;
    while (winner < MKMODEL_N_WINNERS && winner_row(winner) != row)
        winner++;
    return winner;
}

static double step_of(const struct mkmodel_margin *margin, const struct mkmodel_source *source,
                      uint64_t row) {
    const struct mkmodel_tensor *tensor = margin->tensor;
    uint64_t cols = tensor->shape[1];
    double dot = 0;

    for (uint64_t col = 0; col < cols; col++)
        dot += direction(margin->key, col) *
               mkmodel_load(tensor->dtype, mkmodel_source_element(source, row * cols + col));
    return (tensor->head_margin / LEFT_OF_DIRECTION - KEPT * dot) / (double)cols;
}

void mkmodel_margin_init(struct mkmodel_margin *margin, const struct mkmodel_tensor *tensor,
                         const struct mkmodel_source *source, uint64_t seed) {
    *margin =
        (struct mkmodel_margin){.tensor = tensor, .key = mkmodel_hash_name(seed, "head margin")};
    if (tensor->head_margin == 0)
        return;
    for (uint32_t winner = 0; winner < MKMODEL_N_WINNERS; winner++)
        margin->step[winner] = step_of(margin, source, winner_row(winner));
}

void mkmodel_margin_apply(const struct mkmodel_margin *margin, uint64_t offset, uint8_t *bytes,
                          size_t n_bytes) {
    const struct mkmodel_tensor *tensor = margin->tensor;
    uint64_t cols = tensor->shape[1], row = offset / 2 / cols, col = offset / 2 % cols;

    for (size_t at = 0; at < n_bytes; row++, col = 0) {
        uint32_t winner = winner_of(tensor, row);
        bool wins = winner < MKMODEL_N_WINNERS;
        double share = wins ? KEPT : 1.0;
        double step = (tensor->has_direction ? 1.0 : 0.0) + (wins ? margin->step[winner] : 0.0);

        for (; col < cols && at < n_bytes; col++, at += 2) {
            uint16_t bits;

            memcpy(&bits, bytes + at, sizeof bits);
            double value = share * mkmodel_load(tensor->dtype, bits);
            bits = mkmodel_store(tensor->dtype, value + step * direction(margin->key, col));
            memcpy(bytes + at, &bits, sizeof bits);
        }
    }
}
