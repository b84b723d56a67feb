/* choose_target.c - finds the best target that the host can run, or says why there is none. */
#include "choose_target.h"

#include <stdio.h>
#include <string.h>

#include "host/cpu.h"
#include "runtime.h"

/* "avx512 needs avx512vnni; amx needs amx-tile" */
static void describe_missing(const struct rsr_target *targets, uint32_t n_targets, uint64_t has,
                             char *text, size_t capacity) {
    size_t used = 0;
    text[0] = '\0';
    for (uint32_t i = 0; i < n_targets; i++) {
        char names[256];
        rsr_cpu_name_features(targets[i].cpu_features & ~has, names, sizeof(names));
        int n = snprintf(text + used, capacity - used, "%s%s needs %s", used == 0 ? "" : "; ",
                         targets[i].name, names);
        if (n < 0 || (size_t)n >= capacity - used)
            return;
        used += (size_t)n;
    }
}

/* `has` is without the features that the kernel refused to enable. */
static rsr_status refuse(const struct rsr_target *targets, uint32_t n_targets, bool forced,
                         uint64_t has, uint64_t refused, rsr_error *err) {
    char needs[320];
    describe_missing(targets, n_targets, has, needs, sizeof(needs));
    return rsr_fail(err, RSR_ERR_CPU, "this %s what %s needs (%s): %s",
                    refused != 0 ? "system's kernel refuses to this process" : "CPU lacks",
                    forced ? "the target" : "the module", needs,
                    forced ? "open another target, or none for the best that runs here"
                           : "compile with --target native here, or add the target generic");
}

/* "avx2, generic, sm_90" */
struct list {
    char text[256];
    size_t used;
};

static void add_name(struct list *list, const char *name) {
    const size_t room = sizeof(list->text) - list->used;
    const int n =
        snprintf(list->text + list->used, room, "%s%s", list->used == 0 ? "" : ", ", name);
    if (n > 0)
        list->used += (size_t)n < room ? (size_t)n : room - 1;
}

static struct list list_gpus(const struct rsr_module *module) {
    struct list list = {.used = 0};
    for (uint32_t i = 0; i < module->n_gpus; i++)
        add_name(&list, module->gpus[i].name);
    return list;
}

rsr_status rsr_refuse_gpus(const struct rsr_module *module, rsr_error *err) {
    const struct list gpus = list_gpus(module);
    return rsr_fail(
        err, RSR_ERR_CPU,
        "the module is for GPUs alone (%s): name the device, such as cuda:0, or compile "
        "with --target=native,%s",
        gpus.text, module->gpus[0].name);
}

static rsr_status refuse_name(const struct rsr_module *module, const char *name, rsr_error *err) {
    struct list list = {.used = 0};
    for (uint32_t i = 0; i < module->n_targets; i++)
        add_name(&list, module->targets[i].name);
    for (uint32_t i = 0; i < module->n_gpus; i++) {
        if (strcmp(module->gpus[i].name, name) == 0)
            return rsr_fail(err, RSR_ERR_CPU,
                            "target %.64s is a GPU: name the device instead, such as cuda:0", name);
        add_name(&list, module->gpus[i].name);
    }
    return rsr_fail(err, RSR_ERR_ARGUMENT, "the module has no target %.64s; it has %s", name,
                    list.text);
}

/* Without __builtin_popcount: on a baseline without that instruction the builtin calls libgcc. */
static uint32_t count_features(const struct rsr_target *target) {
    uint32_t count = 0;
    for (uint64_t left = target->cpu_features; left != 0; left &= left - 1)
        count++;
    return count;
}

/* Among targets that a host with the features `has` can run; NULL if there is none. */
static const struct rsr_target *best_target(const struct rsr_target *targets, uint32_t n_targets,
                                            uint64_t has) {
    const struct rsr_target *best = NULL;
    for (uint32_t i = 0; i < n_targets; i++) {
        const struct rsr_target *target = &targets[i];
        const bool runs = (target->cpu_features & ~has) == 0;
        if (runs && (best == NULL || count_features(target) > count_features(best)))
            best = target;
    }
    return best;
}

rsr_status rsr_choose_target(const struct rsr_module *module, const char *forced,
                             const struct rsr_host_cpu *host, const struct rsr_target **result,
                             rsr_error *err) {
    const struct rsr_target *targets = module->targets;
    uint32_t n_targets = module->n_targets;
    if (forced != NULL) {
        while (n_targets > 0 && strcmp(targets->name, forced) != 0) {
            targets++;
            n_targets--;
        }
        if (n_targets == 0)
            return refuse_name(module, forced, err);
        n_targets = 1;
    }
    const struct rsr_target *best = best_target(targets, n_targets, host->features);
    if (best != NULL && !host->enable(best->cpu_features)) {
        const uint64_t left = host->features & ~RSR_CPU_ON_REQUEST;
        best = best_target(targets, n_targets, left);
        if (best == NULL)
            return refuse(targets, n_targets, forced != NULL, left, RSR_CPU_ON_REQUEST, err);
    }
    if (best == NULL)
        return refuse(targets, n_targets, forced != NULL, host->features, 0, err);
    *result = best;
    return RSR_OK;
}
