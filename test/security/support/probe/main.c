/*
 * probe NAME[:ARGUMENT...]...           runs attacks one after the other, in this process
 * probe --each NAME[:ARGUMENT...]...    each in a process and in namespaces of its own, so that none spoils the next
 *
 * Prints a line for each: the name as it was given, a blank, and `ok`, the name of an error, of a signal, or a few words.
 */
#include "probe.h"

#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>

enum { EXECUTED = 42, SECONDS_FOR_EACH = 5, OUTCOME_BYTES = 64 };

extern const struct attack __start_attacks[], __stop_attacks[];

static char said[OUTCOME_BYTES];

long say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(said, sizeof said, format, arguments);
  va_end(arguments);
  return 0;
}

char *const executed_arguments[] = {"probe", "--executed", NULL};
char *const no_environment[] = {NULL};

long exec_path(const char *path) { return execve(path, executed_arguments, no_environment); }

long write_self(int fd) {
  static char block[65536];
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  if (self < 0) return -1;
  for (ssize_t got; (got = read(self, block, sizeof block)) != 0;)
    if (got < 0 || write(fd, block, got) != got) return -1;
  return close(self);
}

int copy_of_self(const char *path, int mode) {
  unlink(path);
  int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
  return fd < 0 || write_self(fd) < 0 || fchmod(fd, mode) < 0 ? -1 : fd;
}

const char *writable_folder(void) { return access("/workspace/temp", W_OK) == 0 ? "/workspace/temp" : "/tmp"; }

static void run(const char *call, char *outcome) {
  char name[OUTCOME_BYTES];
  long arguments[MAX_ARGUMENTS] = {0};
  snprintf(name, sizeof name, "%s", call);
  char *rest = strchr(name, ':');
  for (int i = 0; rest != NULL && i < MAX_ARGUMENTS; i++) {
    *rest++ = '\0';
    arguments[i] = (long)strtoull(rest, &rest, 0);
    if (*rest == '\0') rest = NULL;
  }
  for (const struct attack *attack = __start_attacks; attack < __stop_attacks; attack++) {
    if (strcmp(attack->name, name) != 0) continue;
    strcpy(said, "ok");
    errno = 0;
    if (attack->run(arguments) < 0) {
      const char *error = strerrorname_np(errno);
      say("%s", error == NULL ? "an unknown error" : error);
    }
    strcpy(outcome, said);
    return;
  }
  strcpy(outcome, "no such attack");
}

/* What an attack does to its process, its mounts, its host name and its queues ends with it. */
static void run_alone(const char *call, char *outcome) {
  int channel[2];
  if (pipe2(channel, O_CLOEXEC) < 0) exit(1);
  pid_t child = fork();
  if (child == 0) {
    if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC) == 0) mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    alarm(SECONDS_FOR_EACH);
    run(call, outcome);
    _exit(write(channel[1], outcome, OUTCOME_BYTES) == OUTCOME_BYTES ? 0 : 1);
  }
  close(channel[1]);
  int status = 0;
  waitpid(child, &status, 0);
  fcntl(channel[0], F_SETFL, O_NONBLOCK);
  if (read(channel[0], outcome, OUTCOME_BYTES) != OUTCOME_BYTES) {
    const char *signal = WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : NULL;
    if (signal != NULL) snprintf(outcome, OUTCOME_BYTES, "SIG%s", signal);
    else strcpy(outcome, WIFEXITED(status) && WEXITSTATUS(status) == EXECUTED ? "executed" : "ended without a word");
  }
  close(channel[0]);
}

int main(int count, char **arguments) {
  int each = count > 1 && strcmp(arguments[1], "--each") == 0;
  if (count > 1 && strcmp(arguments[1], "--executed") == 0) return EXECUTED;
  for (int i = 1 + each; i < count; i++) {
    char outcome[OUTCOME_BYTES] = "";
    (each ? run_alone : run)(arguments[i], outcome);
    dprintf(STDOUT_FILENO, "%s %s\n", arguments[i], outcome);
  }
  return 0;
}
