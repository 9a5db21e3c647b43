/* A plugin of qemu's: how many instructions of which kind a program of AArch64 executes. bench/a57_counts.sh builds and
 * reads it.
 *
 * Debian packages no header of qemu's plugin interface; what is used of its version 1 (qemu 6.0 to 8.x) is declared
 * here. Counters are added to at the head of each translated block without a lock: run the program with one thread. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb* block);
typedef void (*qemu_plugin_udata_cb_t)(qemu_plugin_id_t id, void* data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t call);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb* block, enum qemu_plugin_op op, void* at,
                                              uint64_t add);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_udata_cb_t call, void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* block, size_t index);
const void* qemu_plugin_insn_data(const struct qemu_plugin_insn* instruction);
void qemu_plugin_outs(const char* text);

#define PUBLIC __attribute__((visibility("default")))
PUBLIC int qemu_plugin_version = 1;

/* The first row whose bits agree. (Arm Architecture Reference Manual, C4.1.) */
static const struct {
  const char* name;
  uint32_t mask, bits;
} kinds[] = {
    {"fmla", 0xBFA0FC00u, 0x0E20CC00u}, /* vectors */
    {"fmla", 0xBF80F400u, 0x0F801000u}, /* vector by element */
    {"fmls", 0xBFA0FC00u, 0x0EA0CC00u},   {"fmls", 0xBF80F400u, 0x0F805000u},
    {"smull", 0xBF20FC00u, 0x0E20C000u},  {"smlal", 0xBF20FC00u, 0x0E208000u},
    {"sadalp", 0xBF3FFC00u, 0x0E206800u}, {"memory", 0x0A000000u, 0x08000000u},
    {"vector", 0x0E000000u, 0x0E000000u}, /* other SIMD and floating point */
    {"branch", 0x1C000000u, 0x14000000u}, {"integer", 0u, 0u},
};
enum { KINDS = sizeof kinds / sizeof kinds[0] };
static uint64_t counts[KINDS];

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  uint64_t here[KINDS] = {0};
  size_t i, k;
  (void)id;
  for (i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
    const uint8_t* b = qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i));
    const uint32_t word = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
    for (k = 0; (word & kinds[k].mask) != kinds[k].bits; ++k) {
    }
    ++here[k];
  }
  for (k = 0; k < KINDS; ++k)
    if (here[k] > 0) qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &counts[k], here[k]);
}

static void ended(qemu_plugin_id_t id, void* data) {
  char line[64];
  int k;
  (void)id, (void)data;
  for (k = 0; k < KINDS; ++k) {
    snprintf(line, sizeof line, "count %s %llu\n", kinds[k].name, (unsigned long long)counts[k]);
    qemu_plugin_outs(line);
  }
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
