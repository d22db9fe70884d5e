/* Attacks that one layer of defence stops by itself. */
#include "probe.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* A set-user-id program of root, started by somebody else. Its answer is its exit code. */
ATTACK(effective_user) {
  _exit(geteuid() == 0 ? 0 : 1);
}
ATTACK(set_user_id_program) {
  int fd = copy_of_self("/tmp/set-user-id", 04755);
  if (fd < 0 || close(fd) < 0) return -1;
  pid_t child = fork();
  if (child == 0) {
    if (setgid(1000) < 0 || setuid(1000) < 0) _exit(2);
    execve("/tmp/set-user-id", (char *const[]){"probe", "effective_user", NULL}, no_environment);
    _exit(3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status) == 0 ? say("root") : WEXITSTATUS(status) == 1 ? say("not root") : say("exit code %d", WEXITSTATUS(status));
}

CALL(write_root, open("/opt/planted", O_WRONLY | O_CREAT | O_CLOEXEC, 0600))
CALL(exec_mounted, exec_path("/mounted/probe"))
CALL(exec_masked, exec_path("/usr/local/bin/probe-masked"))
/* Takes hold of a child once it executes this program: 0 what everybody can read, 1 what nobody can. */
ATTACK(wait) { return pause(); }
ATTACK(trace_child) {
  int executed[2];
  if (pipe2(executed, O_CLOEXEC) < 0) return -1;
  pid_t child = fork();
  if (child == 0) {
    execve(a[0] == 0 ? "/usr/local/bin/probe" : "/usr/local/bin/probe-masked", (char *const[]){"probe", "wait", NULL}, no_environment);
    _exit(1);
  }
  char byte;
  close(executed[1]);
  if (read(executed[0], &byte, 1) < 0) return -1;
  long outcome = ptrace(PTRACE_SEIZE, child, NULL, NULL);
  int error = errno;
  kill(child, SIGKILL);
  waitpid(child, NULL, 0);
  errno = error;
  return outcome;
}
CALL(read_masked, open("/usr/local/bin/probe-masked", O_RDONLY | O_CLOEXEC))

/* The code of this program is changed while it runs. A page that is not writable is written nevertheless. */
static const volatile char target[] = "before";
ATTACK(write_own_code) {
  int fd = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
  if (fd < 0 || pwrite(fd, "after!", 6, (off_t)(intptr_t)target) != 6) return -1;
  return target[0] == 'a' ? say("overwritten") : say("unchanged");
}
CALL(read_runtime, open("/usr/local/bin/node", O_RDONLY | O_CLOEXEC))
CALL(make_runtime_readable, chmod("/usr/local/bin/node", 0755))

ATTACK(connect) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)a[0]), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof address);
}

/* One user may have so many inotify instances, on the whole machine. */
static long take_inotify(void) {
  long taken = 0;
  while (taken < 60000 && inotify_init1(IN_CLOEXEC) >= 0) taken++;
  return taken;
}
CALL(take_one_inotify, inotify_init1(IN_CLOEXEC))
ATTACK(take_all_inotify) {
  long taken = take_inotify();
  dprintf(STDOUT_FILENO, "taken %ld\n", taken);
  return pause();
}

CALL(shared_memory, open("/dev/shm/planted", O_RDWR | O_CREAT | O_CLOEXEC, 0600))
CALL(take_terminal, open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC))

ATTACK(dump_core) {
  struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};
  pid_t child = fork();
  if (child == 0) {
    if (setrlimit(RLIMIT_CORE, &all) < 0) getrlimit(RLIMIT_CORE, &all);
    if (chdir("/tmp") == 0) abort();
    _exit(1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) && WCOREDUMP(status) ? say("dumped") : say("not dumped");
}

/* What the kernel holds of one connection whose other end never reads. */
ATTACK(fill_socket) {
  static char block[65536];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int server = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr *)&address, size) < 0 || listen(server, 1) < 0) return -1;
  if (getsockname(server, (struct sockaddr *)&address, &size) < 0 || connect(client, (struct sockaddr *)&address, size) < 0) return -1;
  fcntl(client, F_SETFL, O_NONBLOCK);
  long held = 0;
  struct pollfd writable = {client, POLLOUT, 0};
  while (held < (64L << 20) && poll(&writable, 1, 300) == 1) {
    ssize_t sent = write(client, block, sizeof block);
    if (sent > 0) held += sent;
  }
  return say("%s 512 KiB", held < (512 << 10) ? "below" : "above");
}

/* Connections that nobody accepts. Their other ends are closed, so they hold data, but no open file. */
ATTACK(fill_queue) {
  static char block[65536];
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int server = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(server, (struct sockaddr *)&address, size) < 0 || listen(server, 4096) < 0) return -1;
  if (getsockname(server, (struct sockaddr *)&address, &size) < 0) return -1;
  long waiting = 0;
  for (int full = 0; !full && waiting < 1000; waiting += !full) {
    int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    connect(client, (struct sockaddr *)&address, size);
    full = write(client, block, sizeof block) < 0;
    close(client);
  }
  return say("%s 100 connections", waiting < 100 ? "below" : "above");
}

ATTACK(allocate) {
  for (long i = 0; i < a[0]; i++) {
    void *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) return -1;
  }
  return 0;
}

static void *stay(void *nothing) {
  pause();
  return nothing;
}
ATTACK(take_tasks) {
  pthread_t thread;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, 65536);
  for (long i = 0; i < a[0]; i++)
    if ((errno = pthread_create(&thread, &small, stay, NULL)) != 0) return -1;
  return 0;
}
