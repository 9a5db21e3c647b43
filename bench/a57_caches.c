/* A plugin of qemu's: how often a program of one thread misses caches like a Cortex-A57's: 32 KiB of data in two ways,
 * and behind them 512 KiB in sixteen, a core's share of 2 MiB; lines of 64 bytes, the least recently used is replaced,
 * nothing is fetched ahead. bench/a57_caches.sh builds and reads it. What is used of the plugin interface is declared
 * as in a57_counts.c. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t id, struct qemu_plugin_tb* block);
typedef void (*qemu_plugin_vcpu_mem_cb_t)(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void* data);
typedef void (*qemu_plugin_udata_cb_t)(qemu_plugin_id_t id, void* data);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, qemu_plugin_vcpu_tb_trans_cb_t call);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn* instruction, qemu_plugin_vcpu_mem_cb_t call, int flags,
                                      int reads_and_writes, void* data);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id, qemu_plugin_udata_cb_t call, void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(const struct qemu_plugin_tb* block, size_t index);
void qemu_plugin_outs(const char* text);

#define PUBLIC __attribute__((visibility("default")))
PUBLIC int qemu_plugin_version = 1;

enum { SETS1 = 256, WAYS1 = 2, SETS2 = 512, WAYS2 = 16 };
static uint64_t first[SETS1][WAYS1], second[SETS2][WAYS2]; /* line + 1, the last used at the front */
static uint64_t accesses, misses1, misses2;

static int missed(uint64_t* set, size_t ways, uint64_t line) {
  size_t way = 0;
  int found;
  while (way + 1 < ways && set[way] != line) ++way;
  found = set[way] == line;
  memmove(set + 1, set, way * sizeof *set);
  set[0] = line;
  return !found;
}

static void accessed(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t address, void* data) {
  const uint64_t line = address / 64 + 1;
  (void)cpu, (void)info, (void)data;
  ++accesses;
  if (!missed(first[line % SETS1], WAYS1, line)) return;
  ++misses1;
  if (missed(second[line % SETS2], WAYS2, line)) ++misses2;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  size_t i;
  (void)id;
  for (i = 0; i < qemu_plugin_tb_n_insns(block); ++i)
    qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, i), accessed, 0, 3, NULL);
}

static void ended(qemu_plugin_id_t id, void* data) {
  char line[128];
  (void)id, (void)data;
  snprintf(line, sizeof line, "caches %llu %llu %llu\n", (unsigned long long)accesses, (unsigned long long)misses1,
           (unsigned long long)misses2);
  qemu_plugin_outs(line);
}

PUBLIC int qemu_plugin_install(qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, ended, NULL);
  return 0;
}
