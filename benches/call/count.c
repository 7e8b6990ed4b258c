/* Counts memory allocations by thread and by who asked, for the P2 bench: put before a program by LD_PRELOAD.
 *
 * Each process writes a table into a file of its own in the folder ALLOCATION_COUNTS, named by its pid and shared with
 * whoever reads it; layout below, all fields 64 bits in the machine's order. A thread takes a slot at its first
 * allocation and keeps it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The reader in allocations.rs has the same numbers. */
#define THREADS 256
#define SMALL 512

struct slot {
  uint64_t tid;
  uint64_t program;   /* calls out of the program's own file */
  uint64_t libraries; /* calls out of shared libraries */
  uint64_t small[SMALL]; /* of the program's calls, those for fewer bytes than this, by bytes */
};

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static struct slot *table;
static uint64_t used;
static uintptr_t program_begin, program_end;
static __thread __attribute__((tls_model("initial-exec"))) struct slot *mine;

static int first_object(struct dl_phdr_info *info, size_t size, void *unused) {
  (void)size;
  (void)unused;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    if (info->dlpi_phdr[i].p_type != PT_LOAD) continue;
    uintptr_t begin = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
    uintptr_t end = begin + info->dlpi_phdr[i].p_memsz;
    if (!program_begin || begin < program_begin) program_begin = begin;
    if (end > program_end) program_end = end;
  }
  return 1; /* the program itself comes first */
}

__attribute__((constructor)) static void begin(void) {
  const char *folder = getenv("ALLOCATION_COUNTS");
  char path[512];
  if (!folder || snprintf(path, sizeof path, "%s/%d", folder, (int)getpid()) >= (int)sizeof path) return;
  dl_iterate_phdr(first_object, NULL);
  int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (file < 0) return;
  size_t bytes = sizeof(struct slot) * THREADS;
  if (ftruncate(file, bytes) == 0) {
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory != MAP_FAILED) table = memory;
  }
  close(file);
}

static void count(size_t bytes, void *caller) {
  if (!table) return;
  if (!mine) {
    uint64_t place = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
    mine = &table[place < THREADS ? place : THREADS - 1];
    mine->tid = (uint64_t)syscall(SYS_gettid);
  }
  if ((uintptr_t)caller < program_begin || (uintptr_t)caller >= program_end) {
    mine->libraries++;
    return;
  }
  mine->program++;
  if (bytes < SMALL) mine->small[bytes]++;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t bytes) {
  count(bytes, CALLER);
  return __libc_malloc(bytes);
}

void *calloc(size_t number, size_t bytes) {
  count(number * bytes, CALLER);
  return __libc_calloc(number, bytes);
}

void *realloc(void *memory, size_t bytes) {
  count(bytes, CALLER);
  return __libc_realloc(memory, bytes);
}

void *memalign(size_t alignment, size_t bytes) {
  count(bytes, CALLER);
  return __libc_memalign(alignment, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes) {
  count(bytes, CALLER);
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void **memory, size_t alignment, size_t bytes) {
  count(bytes, CALLER);
  if (alignment % sizeof(void *) || (alignment & (alignment - 1)) || !alignment) return EINVAL;
  void *found = __libc_memalign(alignment, bytes);
  if (!found) return ENOMEM;
  *memory = found;
  return 0;
}
