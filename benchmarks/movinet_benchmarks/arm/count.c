/* Counts executed instructions and writes the count at each call of one system call (a mark);
 * on demand also, at the end, each block that ran between the last two marks.
 *
 * The interface is that of QEMU's plugins, version 1 (docs/devel/tcg-plugins of QEMU);
 * its few functions are declared here, so that no header is needed.
 * Arguments: mark=NUMBER of the system call, out=FILE, perhaps blocks=FILE. A line of that is
 * the block's address, how often it ran, how many instructions it has, and these, tab-separated.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { ADD_U64 = 0 };
typedef void (*translated)(plugin_id, struct qemu_plugin_tb *);
typedef void (*system_call)(plugin_id, unsigned, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                            uint64_t, uint64_t, uint64_t, uint64_t);
typedef void (*ended)(plugin_id, void *);
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, translated);
extern void qemu_plugin_register_vcpu_syscall_cb(plugin_id, system_call);
extern void qemu_plugin_register_atexit_cb(plugin_id, ended, void *);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
extern char *qemu_plugin_insn_disas(const struct qemu_plugin_insn *);
extern void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, int, void *, uint64_t);

int qemu_plugin_version = 1;

static uint64_t executed;
static int64_t mark = -1;
static FILE *out, *blocks_out;

/* In a list, so that the counters stay where the emulated code adds to them. */
struct block {
    uint64_t address, runs, seen, between;
    size_t length;
    char **text;
    struct block *next;
};
static struct block *blocks;

static void remember(struct qemu_plugin_tb *tb)
{
    struct block *block = calloc(1, sizeof *block);
    if (block == NULL)
        abort();
    block->address = qemu_plugin_tb_vaddr(tb);
    block->length = qemu_plugin_tb_n_insns(tb);
    block->text = calloc(block->length, sizeof *block->text);
    if (block->text == NULL)
        abort();
    for (size_t i = 0; i < block->length; i++)
        block->text[i] = qemu_plugin_insn_disas(qemu_plugin_tb_get_insn(tb, i));
    block->next = blocks;
    blocks = block;
    qemu_plugin_register_vcpu_tb_exec_inline(tb, ADD_U64, &block->runs, 1);
}

static void on_translated(plugin_id id, struct qemu_plugin_tb *block)
{
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &executed,
                                             qemu_plugin_tb_n_insns(block));
    if (blocks_out != NULL)
        remember(block);
}

static void on_system_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a, uint64_t b,
                           uint64_t c, uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h)
{
    (void)id, (void)cpu, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)h;
    if (number == mark) {
        fprintf(out, "%" PRIu64 "\n", executed);
        fflush(out);
        for (struct block *block = blocks; block != NULL; block = block->next) {
            block->between = block->runs - block->seen;
            block->seen = block->runs;
        }
    }
}

static void on_end(plugin_id id, void *data)
{
    (void)id, (void)data;
    for (struct block *block = blocks; block != NULL; block = block->next) {
        if (block->between == 0)
            continue;
        fprintf(blocks_out, "%" PRIx64 "\t%" PRIu64 "\t%zu", block->address, block->between,
                block->length);
        for (size_t i = 0; i < block->length; i++)
            fprintf(blocks_out, "\t%s", block->text[i] == NULL ? "" : block->text[i]);
        fputc('\n', blocks_out);
    }
    fclose(blocks_out);
}

int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "mark=", 5) == 0)
            mark = atoll(argv[i] + 5);
        else if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
        else if (strncmp(argv[i], "blocks=", 7) == 0 && (blocks_out = fopen(argv[i] + 7, "w")) == NULL)
            return -1;
    }
    if (mark < 0 || out == NULL)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_system_call);
    if (blocks_out != NULL)
        qemu_plugin_register_atexit_cb(id, on_end, NULL);
    return 0;
}
