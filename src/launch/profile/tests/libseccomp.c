/* Compiles profiles with libseccomp, for the tests. Reads lines and answers each profile with its
 * program, in the order of this machine:
 *
 *   number ARCH NUMBER              answers uint32 length and the name of the call
 *   default ANSWER                  begins a profile
 *   arch ARCH                       the first one is the machine's own
 *   rule ANSWER NAME [INDEX OP A B]...
 *   optimize LEVEL                  1 for a list of calls, 2 for a tree
 *   end                             answers int32 status, uint32 length in bytes, the program
 */
#define _GNU_SOURCE
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void say(const void *bytes, size_t length) {
  if (fwrite(bytes, 1, length, stdout) != length)
    exit(2);
}

static void finish(scmp_filter_ctx filter, int32_t status) {
  int file = memfd_create("program", 0);
  if (status == 0)
    status = seccomp_export_bpf(filter, file);
  off_t end = status == 0 ? lseek(file, 0, SEEK_END) : 0;
  uint32_t length = (uint32_t)end;
  char *bytes = malloc(length + 1);
  if (file < 0 || bytes == NULL || pread(file, bytes, length, 0) != end)
    exit(3);
  say(&status, sizeof status);
  say(&length, sizeof length);
  say(bytes, length);
  fflush(stdout);
  free(bytes);
  close(file);
}

int main(void) {
  static char line[1 << 16];
  scmp_filter_ctx filter = NULL;
  int32_t status = 0;
  int architectures = 0;
  while (fgets(line, sizeof line, stdin) != NULL) {
    char *rest = NULL, *word = strtok_r(line, " \n", &rest);
    if (word == NULL)
      continue;
    char *first = strtok_r(NULL, " \n", &rest);
    uint32_t number = first != NULL ? (uint32_t)strtoul(first, NULL, 0) : 0;
    if (strcmp(word, "number") == 0) {
      int call = (int)strtoul(strtok_r(NULL, " \n", &rest), NULL, 0);
      char *name = seccomp_syscall_resolve_num_arch(number, call);
      uint32_t length = name != NULL ? (uint32_t)strlen(name) : 0;
      say(&length, sizeof length);
      say(name, length);
      fflush(stdout);
      free(name);
    } else if (strcmp(word, "default") == 0) {
      filter = seccomp_init(number);
      status = filter == NULL ? -ENOMEM : 0;
      architectures = 0;
    } else if (strcmp(word, "arch") == 0) {
      uint32_t native = seccomp_arch_native();
      int added = seccomp_arch_add(filter, number);
      if (added < 0 && added != -EEXIST)
        status = added;
      if (architectures++ == 0 && number != native)
        seccomp_arch_remove(filter, native);
    } else if (strcmp(word, "rule") == 0) {
      struct scmp_arg_cmp compared[6];
      unsigned count = 0;
      int call = seccomp_syscall_resolve_name(strtok_r(NULL, " \n", &rest));
      char *index;
      while (count < 6 && (index = strtok_r(NULL, " \n", &rest)) != NULL) {
        compared[count].arg = (unsigned)strtoul(index, NULL, 0);
        compared[count].op = (enum scmp_compare)atoi(strtok_r(NULL, " \n", &rest));
        compared[count].datum_a = strtoull(strtok_r(NULL, " \n", &rest), NULL, 0);
        compared[count].datum_b = strtoull(strtok_r(NULL, " \n", &rest), NULL, 0);
        count++;
      }
      if (status == 0 && call != __NR_SCMP_ERROR)
        status = seccomp_rule_add_array(filter, number, call, count, compared);
    } else if (strcmp(word, "optimize") == 0) {
      seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, number);
    } else if (strcmp(word, "end") == 0) {
      finish(filter, status);
      seccomp_release(filter);
      filter = NULL;
    }
  }
  return 0;
}
