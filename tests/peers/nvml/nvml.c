/* A stand-in for NVIDIA's libnvidia-ml.so.1, for tests with the real `zeusd` on a machine without a graphics processor.
 *
 * It has the functions of NVML that zeusd 0.5.0 calls through nvml-wrapper 0.12 (which looks each one up by its name) and a few beside
 * them. Signatures, numbers and layouts are those of NVIDIA's nvml.h (NVML API reference; nvml-wrapper-sys 0.9 has the same). Nothing
 * here is a measurement: a "processor" draws the lesser of its limit and of what its work demands, at once.
 *
 *   BALLAST_NVML_GPUS       how many there are, 1 to 16; 2 unless told
 *   BALLAST_NVML_DEMAND_MW  what the work of each demands, in milliwatts; 350000 unless told
 *   BALLAST_NVML_STUCK      the index of one that refuses every new limit; none unless told
 *
 * Limits are kept in memory: they are lost with the process, as real ones are with the driver.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef int nvmlReturn_t;
enum {
    SUCCESS = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    INSUFFICIENT_SIZE = 7,
    UNKNOWN = 999,
};

/* Limits in milliwatts: those of a board of 400 W. */
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

static int known(nvmlDevice_t gpu) {
    return gpu >= gpus && gpu < gpus + count;
}

static unsigned draw(nvmlDevice_t gpu) {
    unsigned demand = from_environment("BALLAST_NVML_DEMAND_MW", DEMAND, 10000000u);
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
    for (unsigned index = 0; index < wanted; index++) {
        gpus[index].index = index;
        gpus[index].limit = HIGHEST;
        clock_gettime(CLOCK_MONOTONIC, &gpus[index].since);
    }
    count = wanted;
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
    if (!known(gpu) || index == NULL) return INVALID_ARGUMENT;
    *index = gpu->index;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t gpu, char *name, unsigned length) {
    return known(gpu) ? text(name, length, "Stand-in GPU 400W") : INVALID_ARGUMENT;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t gpu, char *uuid, unsigned length) {
    char made[48];
    if (!known(gpu)) return INVALID_ARGUMENT;
    snprintf(made, sizeof made, "GPU-00000000-0000-0000-0000-%012x", gpu->index);
    return text(uuid, length, made);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t gpu, nvmlPciInfo_t *pci) {
    if (!known(gpu) || pci == NULL) return INVALID_ARGUMENT;
    memset(pci, 0, sizeof *pci);
    pci->bus = gpu->index + 1;
    snprintf(pci->busId, sizeof pci->busId, "00000000:%02X:00.0", pci->bus & 0xffu);
    snprintf(pci->busIdLegacy, sizeof pci->busIdLegacy, "0000:%02X:00.0", pci->bus & 0xffu);
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t gpu, unsigned *milliwatts) {
    if (!known(gpu) || milliwatts == NULL) return INVALID_ARGUMENT;
    *milliwatts = draw(gpu);
    return SUCCESS;
}

/* As if it had always drawn what it draws now. */
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t gpu, unsigned long long *millijoules) {
    struct timespec now;
    if (!known(gpu) || millijoules == NULL) return INVALID_ARGUMENT;
    clock_gettime(CLOCK_MONOTONIC, &now);
    long long passed = (now.tv_sec - gpu->since.tv_sec) * 1000LL + (now.tv_nsec - gpu->since.tv_nsec) / 1000000;
    *millijoules = passed < 0 ? 0 : (unsigned long long)passed * draw(gpu) / 1000;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t gpu, unsigned *milliwatts) {
    if (!known(gpu) || milliwatts == NULL) return INVALID_ARGUMENT;
    *milliwatts = gpu->limit;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t gpu, unsigned *milliwatts) {
    return nvmlDeviceGetPowerManagementLimit(gpu, milliwatts);
}

nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t gpu, unsigned *milliwatts) {
    if (!known(gpu) || milliwatts == NULL) return INVALID_ARGUMENT;
    *milliwatts = HIGHEST;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t gpu, unsigned *low, unsigned *high) {
    if (!known(gpu) || low == NULL || high == NULL) return INVALID_ARGUMENT;
    *low = LOWEST;
    *high = HIGHEST;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t gpu, unsigned milliwatts) {
    if (!known(gpu) || milliwatts < LOWEST || milliwatts > HIGHEST) return INVALID_ARGUMENT;
    if (from_environment("BALLAST_NVML_STUCK", MOST_GPUS, MOST_GPUS) == gpu->index) return UNKNOWN;
    gpu->limit = milliwatts;
    return SUCCESS;
}

nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t gpu, int number, nvmlFieldValue_t *values) {
    if (!known(gpu) || values == NULL || number < 0) return INVALID_ARGUMENT;
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
    if (!known(gpu) || mode == NULL) return INVALID_ARGUMENT;
    *mode = gpu->persistence;
    return SUCCESS;
}

/* What must never be called by a test: it shows in what the processor says. */
nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t gpu, unsigned mode) {
    if (!known(gpu)) return INVALID_ARGUMENT;
    gpu->persistence = mode;
    return SUCCESS;
}
