/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests with the real `zeusd` on a machine without a graphics processor.
 *
 * It has the functions of NVML that zeusd 0.5.0 calls through nvml-wrapper 0.12 (which looks each one up by its name) and a few beside
 * them. Signatures, numbers and layouts are those of NVIDIA's nvml.h (NVML API reference; nvml-wrapper-sys 0.9 has the same). Nothing
 * here is a measurement: a "processor" draws the lesser of its limit and of what its work demands, at once.
 *
 *   BALLAST_NVML_GPUS       how many there are, 1 to 16; 2 unless told
 *   BALLAST_NVML_DEMAND_MW  what the work of each demands, in milliwatts; 350000 unless told
 *   BALLAST_NVML_RANGES     the lowest and highest limit of each, in milliwatts: 100000-400000,200000-700000; 100000-400000 unless told
 *   BALLAST_NVML_FOLDER     a folder in which it says what was set, and in which files say what goes wrong, while they are there:
 *     writes                what was set, a line each: "limit INDEX MILLIWATTS" or "persistence INDEX MODE"
 *     stuck-INDEX           this one refuses every new limit
 *     lost-INDEX            this one has fallen off the bus
 *     reload                the driver is loaded again: all limits are at their highest, and the file is gone
 *
 * Limits are kept in memory: they are lost with the process, as real ones are with the driver.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef int nvmlReturn_t;
enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
    GPU_IS_LOST = 15,
    UNKNOWN = 999,
};

/* Limits in milliwatts: those of a board of 400 W; and more than any board has. */
#define MOST 10000000u
#define LOWEST 100000u
#define HIGHEST 400000u
#define DEMAND 350000u
#define MOST_GPUS 16u
/* NVML_FI_DEV_POWER_AVERAGE and NVML_FI_DEV_POWER_INSTANT; NVML_VALUE_TYPE_UNSIGNED_INT. */
#define FIELD_POWER_AVERAGE 185u
#define FIELD_POWER_INSTANT 186u
#define TYPE_UNSIGNED_INT 1u

struct gpu {
    unsigned index;
    unsigned lowest, highest;
    unsigned limit;
    unsigned persistence;
    struct timespec since;
};
typedef struct gpu *nvmlDevice_t;

typedef struct {
    char busIdLegacy[16];
    unsigned domain, bus, device, pciDeviceId, pciSubSystemId;
    char busId[32];
} nvmlPciInfo_t;

typedef struct {
    unsigned fieldId;
    unsigned scopeId;
    long long timestamp;
    long long latencyUsec;
    unsigned valueType;
    nvmlReturn_t nvmlReturn;
    union {
        double dVal;
        int siVal;
        unsigned uiVal;
        unsigned long ulVal;
        unsigned long long ullVal;
        long long sllVal;
        unsigned short usVal;
    } value;
} nvmlFieldValue_t;

static struct gpu gpus[MOST_GPUS];
static unsigned count;

/* A whole number of the environment, or what holds without it. */
static unsigned from_environment(const char *name, unsigned otherwise, unsigned most) {
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') return otherwise;
    char *end = NULL;
    unsigned long number = strtoul(text, &end, 10);
    return *end == '\0' && number <= most ? (unsigned)number : otherwise;
}

/* The path of a file in the folder, about one processor or about all (negative); whether there is a folder. */
static int file(char *path, size_t size, const char *name, int index) {
    const char *folder = getenv("BALLAST_NVML_FOLDER");
    if (folder == NULL || *folder == '\0') return 0;
    int length = index < 0 ? snprintf(path, size, "%s/%s", folder, name) : snprintf(path, size, "%s/%s-%d", folder, name, index);
    return length > 0 && (size_t)length < size;
}

static int goes_wrong(const char *name, nvmlDevice_t gpu) {
    char path[4096];
    return file(path, sizeof path, name, (int)gpu->index) && access(path, F_OK) == 0;
}

static void tell(const char *what, nvmlDevice_t gpu, unsigned value) {
    char path[4096];
    if (!file(path, sizeof path, "writes", -1)) return;
    FILE *writes = fopen(path, "a");
    if (writes == NULL) return;
    fprintf(writes, "%s %u %u\n", what, gpu->index, value);
    fclose(writes);
}

static void limits_of_old(void) {
    for (unsigned index = 0; index < count; index++) gpus[index].limit = gpus[index].highest;
}

/* What is wrong with one, before anything is done with it. */
static nvmlReturn_t look(nvmlDevice_t gpu) {
    char path[4096];
    if (!(gpu >= gpus && gpu < gpus + count)) return INVALID_ARGUMENT;
    if (file(path, sizeof path, "reload", -1) && unlink(path) == 0) limits_of_old();
    return goes_wrong("lost", gpu) ? GPU_IS_LOST : SUCCESS;
}

static unsigned draw(nvmlDevice_t gpu) {
    unsigned demand = from_environment("BALLAST_NVML_DEMAND_MW", DEMAND, MOST);
    return demand < gpu->limit ? demand : gpu->limit;
}

static nvmlReturn_t text(char *to, unsigned size, const char *from) {
    if (to == NULL) return INVALID_ARGUMENT;
    if (strlen(from) >= size) return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return SUCCESS;
}

/* zeusd begins anew for each processor: what was set before stands. */
nvmlReturn_t nvmlInit_v2(void) {
    if (count > 0) return SUCCESS;
    unsigned wanted = from_environment("BALLAST_NVML_GPUS", 2, MOST_GPUS);
    const char *ranges = getenv("BALLAST_NVML_RANGES");
    for (unsigned index = 0; index < wanted; index++) {
        unsigned low, high;
        int told = ranges != NULL && sscanf(ranges, "%u-%u", &low, &high) == 2 && low <= high && high <= MOST;
        gpus[index].index = index;
        gpus[index].lowest = told ? low : LOWEST;
        gpus[index].highest = told ? high : HIGHEST;
        clock_gettime(CLOCK_MONOTONIC, &gpus[index].since);
        ranges = ranges != NULL ? strchr(ranges, ',') : NULL;
        if (ranges != NULL) ranges++;
    }
    count = wanted;
    limits_of_old();
    return SUCCESS;
}

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    return nvmlInit_v2();
}

nvmlReturn_t nvmlShutdown(void) {
    return SUCCESS;
}

const char *nvmlErrorString(nvmlReturn_t result) {
    return result == SUCCESS ? "Success" : "Error of the stand-in";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
    return text(version, length, "000.00.00");
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned length) {
    return text(version, length, "12.000.00.00");
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *number) {
    if (number == NULL) return INVALID_ARGUMENT;
    *number = count;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *gpu) {
    if (gpu == NULL || index >= count) return INVALID_ARGUMENT;
    *gpu = &gpus[index];
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t gpu, unsigned *index) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (index == NULL) return INVALID_ARGUMENT;
    *index = gpu->index;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t gpu, char *name, unsigned length) {
    nvmlReturn_t wrong = look(gpu);
    return wrong == SUCCESS ? text(name, length, "Stand-in GPU 400W") : wrong;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t gpu, char *uuid, unsigned length) {
    char made[48];
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    snprintf(made, sizeof made, "GPU-00000000-0000-0000-0000-%012x", gpu->index);
    return text(uuid, length, made);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t gpu, nvmlPciInfo_t *pci) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (pci == NULL) return INVALID_ARGUMENT;
    memset(pci, 0, sizeof *pci);
    pci->bus = gpu->index + 1;
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus & 0xffu);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus & 0xffu);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t gpu, unsigned *milliwatts) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (milliwatts == NULL) return INVALID_ARGUMENT;
    *milliwatts = draw(gpu);
    return SUCCESS;
}

/* As if it had always drawn what it draws now. */
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t gpu, unsigned long long *millijoules) {
    struct timespec now;
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (millijoules == NULL) return INVALID_ARGUMENT;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long passed = (now.tv_sec - gpu->since.tv_sec) * 1000LL + (now.tv_nsec - gpu->since.tv_nsec) / 1000000;
    *millijoules = passed < 0 ? 0 : (unsigned long long)passed * draw(gpu) / 1000;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t gpu, unsigned *milliwatts) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (milliwatts == NULL) return INVALID_ARGUMENT;
    *milliwatts = gpu->limit;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t gpu, unsigned *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(gpu, milliwatts);
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t gpu, unsigned *milliwatts) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (milliwatts == NULL) return INVALID_ARGUMENT;
    *milliwatts = gpu->highest;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t gpu, unsigned *low, unsigned *high) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (low == NULL || high == NULL) return INVALID_ARGUMENT;
    *low = gpu->lowest;
    *high = gpu->highest;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t gpu, unsigned milliwatts) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (milliwatts < gpu->lowest || milliwatts > gpu->highest) return INVALID_ARGUMENT;
    if (goes_wrong("stuck", gpu)) return UNKNOWN;
    gpu->limit = milliwatts;
    tell("limit", gpu, milliwatts);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t gpu, int number, nvmlFieldValue_t *values) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (values == NULL || number < 0) return INVALID_ARGUMENT;
    for (int place = 0; place < number; place++) {
        nvmlFieldValue_t *value = &values[place];
        value->valueType = TYPE_UNSIGNED_INT;
        value->nvmlReturn = NOT_SUPPORTED;
        if (value->fieldId == FIELD_POWER_INSTANT || value->fieldId == FIELD_POWER_AVERAGE) {
            value->nvmlReturn = SUCCESS;
            value->value.uiVal = draw(gpu);
        }
    }
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t gpu, unsigned *mode) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    if (mode == NULL) return INVALID_ARGUMENT;
    *mode = gpu->persistence;
    return SUCCESS;
}

/* What must never be called by a test: it shows in what was set. */
nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t gpu, unsigned mode) {
    nvmlReturn_t wrong = look(gpu);
    if (wrong != SUCCESS) return wrong;
    gpu->persistence = mode;
    tell("persistence", gpu, mode);
    return SUCCESS;
}
