/* A scripted double of libnvidia-ml: two GPUs whose state is read from files, anew at every question.
 * $NVML_DOUBLE/<uuid> holds: return code, used MiB, utilisation, then the process IDs that compute. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct { char uuid[40]; } gpu;
typedef struct { unsigned long long total, free, used; } memory;
typedef struct { unsigned gpu, memory; } utilisation;
typedef struct { unsigned pid; unsigned long long used; unsigned gi, ci; } process;

static gpu GPUS[2] = {{"GPU-aaaa"}, {"GPU-bbbb"}};

static int state(const gpu *g, unsigned long long *used, unsigned *busy, unsigned *pids, unsigned *count) {
    char path[512];
    int code = 999;
    unsigned number = 0, pid;
    snprintf(path, sizeof path, "%s/%s", getenv("NVML_DOUBLE"), g->uuid);
    FILE *file = fopen(path, "r");
    if (!file) return 15; /* GPU is lost */
    if (fscanf(file, "%d %llu %u", &code, used, busy) != 3) code = 999;
    while (fscanf(file, "%u", &pid) == 1)
        if (pids) pids[number++] = pid;
        else number++;
    if (count) *count = number;
    fclose(file);
    return code;
}

int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "580.65.06"); return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, gpu **handle) { *handle = &GPUS[index]; return index < 2 ? 0 : 2; }
int nvmlDeviceGetUUID(gpu *g, char *text, unsigned size) { snprintf(text, size, "%s", g->uuid); return 0; }
int nvmlDeviceGetName(gpu *g, char *text, unsigned size) { (void)g; snprintf(text, size, "Double X1"); return 0; }

int nvmlDeviceGetHandleByUUID(const char *uuid, gpu **handle) {
    for (int i = 0; i < 2; i++)
        if (!strcmp(GPUS[i].uuid, uuid)) { *handle = &GPUS[i]; return 0; }
    return 6; /* not found */
}

int nvmlDeviceGetMemoryInfo(gpu *g, memory *m) {
    unsigned long long used = 0;
    unsigned busy = 0;
    int code = state(g, &used, &busy, NULL, NULL);
    m->total = 16384ULL << 20;
    m->used = used << 20;
    m->free = m->total - m->used;
    return code;
}

int nvmlDeviceGetUtilizationRates(gpu *g, utilisation *u) {
    unsigned long long used = 0;
    u->memory = 0;
    return state(g, &used, &u->gpu, NULL, NULL);
}

int nvmlDeviceGetComputeRunningProcesses_v3(gpu *g, unsigned *count, process *found) {
    unsigned long long used = 0;
    unsigned busy = 0, pids[64] = {0}, number = 0;
    int code = state(g, &used, &busy, pids, &number);
    if (code) return code;
    if (number > *count) return 7;
    for (unsigned i = 0; i < number; i++) found[i].pid = pids[i];
    *count = number;
    return 0;
}
