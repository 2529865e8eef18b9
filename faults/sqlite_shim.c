/* Loaded before the C library (LD_PRELOAD): the N-th call that SQLite makes on the catalogue's files fails.
 *
 * faults_arm(number, error, lasting) arms it, faults_arm(0, 0, 0) disarms; faults_seen() counts since then.
 * Only descriptors whose file has "catalogue.db" or ".taking-" in its name count: the database, its -wal and
 * its -shm, and copies of it that are being made.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_int number, failing, lasting, seen;

void faults_arm(int n, int error, int all) {
  seen = 0;
  failing = error;
  lasting = all;
  number = n;
}

int faults_seen(void) { return seen; }

static int due(int fd) {
  char link[64], path[4096];
  ssize_t length;
  int turn;
  if (number == 0) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  if (strstr(path, "catalogue.db") == NULL && strstr(path, ".taking-") == NULL) return 0;
  turn = ++seen;
  if (turn == number || (lasting && turn > number)) {
    errno = failing;
    return 1;
  }
  return 0;
}

#define REAL(name, type) \
  static type real; \
  if (real == NULL) real = (type)dlsym(RTLD_NEXT, name)

typedef ssize_t (*writer)(int, const void *, size_t, off64_t);
typedef ssize_t (*reader)(int, void *, size_t, off64_t);
typedef int (*one)(int);
typedef int (*cutter)(int, off64_t);

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REAL("pwrite64", writer);
  return due(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL("pwrite", writer);
  return due(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
  REAL("pread64", reader);
  return due(fd) ? -1 : real(fd, data, size, at);
}

ssize_t pread(int fd, void *data, size_t size, off_t at) {
  REAL("pread", reader);
  return due(fd) ? -1 : real(fd, data, size, at);
}

int fsync(int fd) {
  REAL("fsync", one);
  return due(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
  REAL("fdatasync", one);
  return due(fd) ? -1 : real(fd);
}

int ftruncate64(int fd, off64_t size) {
  REAL("ftruncate64", cutter);
  return due(fd) ? -1 : real(fd, size);
}

int ftruncate(int fd, off_t size) {
  REAL("ftruncate", cutter);
  return due(fd) ? -1 : real(fd, size);
}
