/* rsr_run_sampling.c - the sampling of rsr-run: options first, then the checkpoint's values, then
 * defaults.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model_report.h"
#include "rsr_run.h"

/* Temperature, top-k and top-p are llama.cpp's, which people know. llama.cpp's penalty is 1, but
 * with it small models, and many ternary models are small, repeat themselves. With these values the
 * bundled model writes sentences (as it does with temperatures 0.6 to 0.8 and penalties 1.05 to
 * 1.2). */
const rsr_sampling run_default_sampling = {.size_bytes = sizeof(rsr_sampling),
                                           .temperature = 0.8f,
                                           .top_k = 40,
                                           .top_p = 0.95f,
                                           .min_p = 0,
                                           .repeat_penalty = 1.1f,
                                           .repeat_window = 64};

#define NO_COUNT UINT32_MAX /* more than --top-k takes */

rsr_sampling run_no_sampling(void) {
    rsr_sampling none = RSR_SAMPLING_INIT;
    none.temperature = none.top_p = none.min_p = none.repeat_penalty = NAN;
    none.top_k = NO_COUNT;
    return none;
}

static bool is_given(float value) {
    return !isnan(value);
}

void run_choose_sampling(struct run_session *session) {
    const rsr_sampling *given = &session->options->sampling;
    rsr_sampling chosen = rsr_report_whole_sampling(session->info.sampling ? session->info.sampling
                                                                           : &run_default_sampling);
    if (given->temperature == 0)
        chosen = (rsr_sampling)RSR_SAMPLING_INIT;
    if (is_given(given->temperature))
        chosen.temperature = given->temperature;
    if (given->top_k != NO_COUNT)
        chosen.top_k = given->top_k;
    if (is_given(given->top_p))
        chosen.top_p = given->top_p;
    if (is_given(given->min_p))
        chosen.min_p = given->min_p;
    if (is_given(given->repeat_penalty)) {
        chosen.repeat_penalty = given->repeat_penalty;
        chosen.repeat_window = given->repeat_window;
    }
    chosen.presence_penalty = given->presence_penalty;
    chosen.frequency_penalty = given->frequency_penalty;
    chosen.n_logit_bias = session->options->n_biases;
    if (chosen.n_logit_bias > 0) /* older runtimes refuse members that they do not know */
        chosen.logit_bias = session->options->biases;
    chosen.seed = given->seed;
    session->sampling = chosen;
}

static const char *who_says(const struct run_session *session) {
    const rsr_sampling *given = &session->options->sampling;
    const bool numbers[] = {is_given(given->temperature), given->top_k != NO_COUNT,
                            is_given(given->top_p), is_given(given->min_p),
                            is_given(given->repeat_penalty)};
    const size_t n = sizeof(numbers) / sizeof(numbers[0]);
    size_t n_given = 0;
    for (size_t i = 0; i < n; i++)
        n_given += numbers[i];
    if (given->temperature == 0 || n_given == n)
        return "by the options";
    if (session->info.sampling)
        return n_given > 0 ? "by the options and the checkpoint" : "by the checkpoint";
    return n_given > 0 ? "by the options and rsr-run's defaults"
                       : "rsr-run's defaults: the checkpoint does not say";
}

void run_put_sampling(FILE *stream, const rsr_sampling *given) {
    const rsr_sampling sampling = rsr_report_whole_sampling(given), *s = &sampling;
    const bool draws = s->temperature > 0;
    if (draws)
        fprintf(stream, "temperature %g", (double)s->temperature);
    else
        fputs("the likeliest token", stream);
    if (draws && s->top_k > 0)
        fprintf(stream, ", top-k %" PRIu32, s->top_k);
    if (draws && s->top_p < 1)
        fprintf(stream, ", top-p %g", (double)s->top_p);
    if (draws && s->min_p > 0)
        fprintf(stream, ", min-p %g", (double)s->min_p);
    if (s->repeat_penalty != 1)
        fprintf(stream, ", repeat penalty %g", (double)s->repeat_penalty);
    if (s->presence_penalty != 0)
        fprintf(stream, ", presence penalty %g", (double)s->presence_penalty);
    if (s->frequency_penalty != 0)
        fprintf(stream, ", frequency penalty %g", (double)s->frequency_penalty);
    for (size_t i = 0; i < s->n_logit_bias; i++)
        fprintf(stream, ", bias %" PRIu32 "%+g", s->logit_bias[i].token,
                (double)s->logit_bias[i].bias);
}

void run_print_sampling(const struct run_session *session) {
    const rsr_sampling *s = &session->sampling;
    fputs("sampling: ", stderr);
    run_put_sampling(stderr, s);
    if (s->temperature > 0)
        fprintf(stderr, ", seed %" PRIu64, s->seed);
    fprintf(stderr, " (%s)\n", who_says(session));
}
