/* Attacks on the kernel's border: system calls that the profile must refuse, and some that it must not. */
#include "probe.h"

#include <aio.h>
#include <linux/aio_abi.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/membarrier.h>
#include <linux/mempolicy.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/wait.h>

/* A call by number with nothing but invalid arguments. */
CALL(nr, syscall(a[0], -1L, -1L, -1L, -1L, -1L, -1L))

/* Sockets. The upper half of an argument is there for the filter to see; the kernel cuts it off. */
CALL(socket, syscall(SYS_socket, a[0], a[1], a[2]))
CALL(socketpair, syscall(SYS_socketpair, a[0], a[1], a[2], (int[2]){0}))
/* Level, option, value, and its length if it is not an int's. */
ATTACK(setsockopt) {
  char value[256] = {0};
  memcpy(value, &a[2], sizeof a[2]);
  return syscall(SYS_setsockopt, socket(AF_INET, SOCK_STREAM, 0), a[0], a[1], value, a[3] == 0 ? sizeof(int) : (size_t)a[3]);
}
/* Out-of-band data: of a pair of unix sockets, with the flags' upper half if asked for. */
static int socket_of_pair(void) {
  int pair[2] = {-1, -1};
  return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ? -1 : pair[0];
}
static struct mmsghdr *one_message(void) {
  static char byte;
  static struct iovec vector = {&byte, 1};
  static struct mmsghdr message = {.msg_hdr = {.msg_iov = &vector, .msg_iovlen = 1}};
  return &message;
}
CALL(sendto, syscall(SYS_sendto, socket_of_pair(), "x", 1, a[0], NULL, 0))
CALL(sendmsg, syscall(SYS_sendmsg, socket_of_pair(), one_message(), a[0]))
CALL(sendmmsg, syscall(SYS_sendmmsg, socket_of_pair(), one_message(), 1, a[0]))

/* Locks on a file that this container can only read, and the host's programs would wait for. */
static int hosts_file(void) { return open("/etc/hosts", O_RDONLY | O_CLOEXEC); }
CALL(flock, syscall(SYS_flock, hosts_file(), a[0]))

#ifdef __x86_64__
/* The 32-bit ABI, and x32: other numbers, other arguments, the same kernel. */
static long call32(long number, long first, long second) {
  long result;
  __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(first), "c"(second) : "memory", "r8", "r9", "r10", "r11");
  if (result >= 0) return result;
  errno = (int)-result;
  return -1;
}
CALL(getpid_int80, call32(20, 0, 0))
ATTACK(socketcall_int80) {
  uint32_t *arguments = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
  if (arguments == MAP_FAILED) return -1;
  memcpy(arguments, (uint32_t[]){(uint32_t)a[0], (uint32_t)a[1], (uint32_t)a[2]}, 12);
  return call32(102, 1, (long)arguments);
}
CALL(getpid_x32, syscall(0x40000000L + SYS_getpid))
CALL(socket_x32, syscall(0x40000000L + SYS_socket, a[0], a[1], a[2]))
static void *ask_by_int80(void *answer) {
  *(long *)answer = call32(20, 0, 0);
  return NULL;
}
ATTACK(int80_in_thread) {
  pthread_t thread;
  long answer = 0;
  if ((errno = pthread_create(&thread, NULL, ask_by_int80, &answer)) != 0) return -1;
  pthread_join(thread, NULL);
  return answer > 0 ? 0 : say("no answer");
}
CALL(modify_ldt, syscall(SYS_modify_ldt, 0, (char[64]){0}, 64))
CALL(ioperm, syscall(SYS_ioperm, 0x80, 1, 1))
CALL(iopl, syscall(SYS_iopl, 3))
CALL(lookup_dcookie, syscall(SYS_lookup_dcookie, 0L, (char[8]){0}, 8))
CALL(nfsservctl, syscall(SYS_nfsservctl, 0, NULL, NULL))
CALL(mknod, syscall(SYS_mknod, "/tmp/device", S_IFBLK | 0600, makedev(7, 0)))
#endif

/* Code from memory, and programs from places where nothing may be executed. */
CALL(memfd_create, syscall(SYS_memfd_create, "x", 0))
CALL(memfd_secret, syscall(SYS_memfd_secret, 0))
ATTACK(exec_memfd) {
  char path[32];
  int fd = (int)syscall(SYS_memfd_create, "x", MFD_CLOEXEC);
  if (fd < 0 || write_self(fd) < 0) return -1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return exec_path(path);
}
CALL(execveat, syscall(SYS_execveat, open("/proc/self/exe", O_PATH | O_CLOEXEC), "", executed_arguments, no_environment, AT_EMPTY_PATH))
static const char *planted(const char *name) {
  static char path[64];
  snprintf(path, sizeof path, "%s/%s", writable_folder(), name);
  return path;
}
static const char *planted_program(void) {
  const char *path = planted("program");
  int fd = copy_of_self(path, 0755);
  if (fd >= 0) close(fd);
  return path;
}
CALL(exec_file, exec_path(planted_program()))
ATTACK(exec_file_by_fd) {
  char path[32];
  int fd = open(planted_program(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  return exec_path(path);
}
ATTACK(exec_script) {
  static const char script[] = "#!/usr/local/bin/probe --executed\n";
  const char *path = planted("script");
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
  if (fd < 0 || write(fd, script, sizeof script - 1) < 0 || close(fd) < 0) return -1;
  return execve(path, (char *const[]){"script", NULL}, no_environment);
}
static long map_file(int first, int then) {
  int fd = open(planted_program(), O_RDONLY | O_CLOEXEC);
  void *memory = fd < 0 ? MAP_FAILED : mmap(NULL, 4096, first, MAP_PRIVATE, fd, 0);
  return memory == MAP_FAILED ? -1 : mprotect(memory, 4096, then);
}
CALL(map_executable, map_file(PROT_READ | PROT_EXEC, PROT_READ | PROT_EXEC))
CALL(make_executable, map_file(PROT_READ, PROT_READ | PROT_EXEC))

/* Memory of the machine's pool of huge pages, which no memory limit counts: so many MiB, and further flags for the mapping. */
ATTACK(huge_pages) {
  long flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE | a[1];
  return syscall(SYS_mmap, NULL, a[0] << 20, PROT_READ | PROT_WRITE, flags, -1, 0) < 0 ? -1 : 0;
}

/* Processes and threads. */
static long leave_child(long child) {
  if (child == 0) _exit(0);
  return child < 0 ? -1 : waitpid((pid_t)child, NULL, __WALL);
}
CALL(fork, leave_child(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)))
#ifdef SYS_fork
CALL(fork_call, leave_child(syscall(SYS_fork)))
#endif
ATTACK(vfork) {
  pid_t child = vfork();
  if (child == 0) _exit(0);
  return child;
}
CALL(clone, leave_child(syscall(SYS_clone, a[0], 0, 0, 0, 0)))
ATTACK(clone3) {
  struct clone_args arguments = {.flags = (uint64_t)a[0], .exit_signal = SIGCHLD};
  return leave_child(syscall(SYS_clone3, &arguments, sizeof arguments));
}
static int end_thread(__attribute__((unused)) void *nothing) { return (int)syscall(SYS_exit, 0); }
ATTACK(clone_thread) {
  static char stack[65536] __attribute__((aligned(16)));
  return clone(end_thread, stack + sizeof stack, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | (int)a[0], NULL);
}
static void *count(void *counter) { return (void *)(intptr_t)__atomic_add_fetch((int *)counter, 1, __ATOMIC_SEQ_CST); }
ATTACK(threads) {
  int counter = 0;
  pthread_t threads[64];
  long wanted = a[0] < 64 ? a[0] : 64;
  for (long i = 0; i < wanted; i++)
    if ((errno = pthread_create(&threads[i], NULL, count, &counter)) != 0) return -1;
  for (long i = 0; i < wanted; i++) pthread_join(threads[i], NULL);
  return counter == wanted ? 0 : say("%d threads ran", counter);
}
/* Threads go on while their process tries to make others. */
ATTACK(forks_beside_threads) {
  enum { THREADS = 16, FORKS = 1000 };
  pthread_t threads[THREADS];
  int counter = 0, forks = 0;
  for (int i = 0; i < THREADS; i++) {
    if ((errno = pthread_create(&threads[i], NULL, count, &counter)) != 0) return -1;
    for (int j = 0; j < FORKS / THREADS; j++) forks += leave_child(syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0)) > 0;
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  return say("%s, %d of %d threads ran", forks > 0 ? "forked" : "no fork", counter, THREADS);
}

/* Other processes. The parent is the control's; a sandbox has none. */
CALL(ptrace_traceme, ptrace(PTRACE_TRACEME, 0, NULL, NULL))
CALL(ptrace_seize, ptrace(PTRACE_SEIZE, getppid(), NULL, NULL))
static struct iovec *one_byte(void) {
  static char byte;
  static struct iovec vector = {&byte, 1};
  return &vector;
}
CALL(process_vm_readv, process_vm_readv(getpid(), one_byte(), 1, one_byte(), 1, 0))
CALL(process_vm_writev, process_vm_writev(getpid(), one_byte(), 1, one_byte(), 1, 0))
CALL(pidfd_open, syscall(SYS_pidfd_open, getpid(), 0))
CALL(pidfd_getfd, syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, getpid(), 0), 1, 0))
CALL(pidfd_send_signal, syscall(SYS_pidfd_send_signal, syscall(SYS_pidfd_open, getpid(), 0), 0, NULL, 0))
CALL(kcmp, syscall(SYS_kcmp, getpid(), getpid(), 1, 0, 0))
CALL(process_madvise, syscall(SYS_process_madvise, syscall(SYS_pidfd_open, getpid(), 0), one_byte(), 0, MADV_COLD, 0))

/* Mounts and roots. */
CALL(mount, mount("x", "/tmp", "tmpfs", 0, NULL))
CALL(umount2, umount2("/sys", MNT_DETACH))
static int new_tmpfs(void) { return (int)syscall(SYS_fsopen, "tmpfs", 0); }
static int created_tmpfs(void) {
  int fd = new_tmpfs();
  syscall(SYS_fsconfig, fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
  return fd;
}
static int tmpfs_mount(void) { return (int)syscall(SYS_fsmount, created_tmpfs(), 0, 0); }
CALL(fsopen, new_tmpfs())
CALL(fsconfig, syscall(SYS_fsconfig, new_tmpfs(), FSCONFIG_CMD_CREATE, NULL, NULL, 0))
CALL(fsmount, tmpfs_mount())
CALL(move_mount, syscall(SYS_move_mount, tmpfs_mount(), "", AT_FDCWD, "/tmp", MOVE_MOUNT_F_EMPTY_PATH))
CALL(fspick, syscall(SYS_fspick, AT_FDCWD, "/sys", 0))
CALL(open_tree, syscall(SYS_open_tree, AT_FDCWD, "/", OPEN_TREE_CLONE))
CALL(mount_setattr, syscall(SYS_mount_setattr, AT_FDCWD, "/sys", 0, &(struct mount_attr){.attr_set = MOUNT_ATTR_NOEXEC}, sizeof(struct mount_attr)))
CALL(unshare, syscall(SYS_unshare, a[0]))
CALL(setns, setns(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC), 0))
CALL(setns_init, setns(open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC), 0))
CALL(chroot, chroot("/tmp"))
ATTACK(pivot_root) {
  if (mount("x", "/tmp", "tmpfs", 0, NULL) == 0) mkdir("/tmp/old", 0700);
  return syscall(SYS_pivot_root, "/tmp", "/tmp/old");
}
CALL(mknodat, syscall(SYS_mknodat, AT_FDCWD, "/tmp/other-device", S_IFCHR | 0600, makedev(1, 3)))
/* By its handle a file is opened that no path of the container leads to. */
static struct { struct file_handle handle; unsigned char bytes[128]; } found = {.handle = {.handle_bytes = 128}};
static long find_handle(void) {
  int mount_id;
  return name_to_handle_at(AT_FDCWD, "/etc/hosts", &found.handle, &mount_id, 0);
}
CALL(name_to_handle_at, find_handle())
ATTACK(open_by_handle_at) {
  find_handle();
  return open_by_handle_at(open("/etc/hosts", O_RDONLY | O_CLOEXEC), &found.handle, O_RDONLY);
}
CALL(quotactl, syscall(SYS_quotactl, 0x800001L << 8, NULL, 0, NULL))
CALL(fanotify_init, syscall(SYS_fanotify_init, 0, O_RDONLY))

/* Keys. */
CALL(keyctl, syscall(SYS_keyctl, 0, -3, 1))
CALL(add_key, syscall(SYS_add_key, "user", "x", "x", 1, -2))
CALL(request_key, syscall(SYS_request_key, "user", "no such key", NULL, 0))

/* Machinery that is often where the kernel breaks. */
CALL(bpf, syscall(SYS_bpf, BPF_MAP_CREATE, &(union bpf_attr){.map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4, .max_entries = 1}, sizeof(union bpf_attr)))
CALL(perf_event_open, syscall(SYS_perf_event_open, &(struct perf_event_attr){.type = PERF_TYPE_SOFTWARE, .size = sizeof(struct perf_event_attr), .config = PERF_COUNT_SW_CPU_CLOCK}, 0, -1, -1, 0))
CALL(io_uring_setup, syscall(SYS_io_uring_setup, 1, (char[120]){0}))
CALL(io_uring_enter, syscall(SYS_io_uring_enter, syscall(SYS_io_uring_setup, 1, (char[120]){0}), 0, 0, 0, NULL, 0))
CALL(userfaultfd, syscall(SYS_userfaultfd, O_CLOEXEC))
static long unreclaimable_kilobytes(void) {
  char text[8192];
  int fd = open("/proc/meminfo", O_RDONLY);
  ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = 0;
  const char *line = strstr(text, "SUnreclaim:");
  return line == NULL ? 0 : atol(line + 11);
}
/* Locks of the kind `a[0]` that do not merge, 400 for each of 800 files, and whether the kernel holds memory for them. */
ATTACK(locks) {
  const char *folder = access("/workspace/temp", W_OK) == 0 ? "/workspace/temp" : "";
  long before = unreclaimable_kilobytes();
  for (int file = 0; file < 800; file++) {
    char path[64];
    snprintf(path, sizeof path, "%s/locked-%d", folder, file);
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    if (fd < 0) return -1;
    for (long at = 400; at > 0; at--) {
      struct flock lock = {.l_type = at % 2 ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET, .l_start = at * 2, .l_len = 1};
      if (fcntl(fd, (int)a[0], &lock) < 0) return -1;
    }
  }
  return say("%s", unreclaimable_kilobytes() - before > 30 * 1024 ? "held" : "free");
}
/* The same limit again: harmless, and setting it all the same. */
ATTACK(prlimit64_set) {
  struct rlimit64 core;
  if (syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &core) < 0) return -1;
  return syscall(SYS_prlimit64, 0, RLIMIT_CORE, &core, NULL);
}
ATTACK(setrlimit) {
  struct rlimit64 core;
  if (syscall(SYS_prlimit64, 0, RLIMIT_CORE, NULL, &core) < 0) return -1;
  return syscall(SYS_setrlimit, RLIMIT_CORE, &core);
}
CALL(personality, syscall(SYS_personality, 0x0040000))
ATTACK(io_setup) {
  aio_context_t context = 0;
  return syscall(SYS_io_setup, 1, &context);
}
static int pipes[2][2];
static void fill_pipes(void) {
  for (int i = 0; i < 2; i++)
    if (pipe(pipes[i]) < 0) return;
  if (write(pipes[0][1], "x", 1) < 0) return;
}
CALL(vmsplice, (fill_pipes(), vmsplice(pipes[0][1], one_byte(), 1, 0)))
CALL(splice, (fill_pipes(), splice(pipes[0][0], NULL, pipes[1][1], NULL, 1, 0)))
CALL(tee, (fill_pipes(), tee(pipes[0][0], pipes[1][1], 1, 0)))
static void *pages(int flags) { return mmap(NULL, 8192, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0); }
CALL(mbind, syscall(SYS_mbind, pages(MAP_PRIVATE), 4096, MPOL_DEFAULT, NULL, 0, 0))
CALL(set_mempolicy, syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
CALL(move_pages, syscall(SYS_move_pages, 0, 1, (void *[]){pages(MAP_PRIVATE)}, NULL, (int[1]){0}, 0))
CALL(migrate_pages, syscall(SYS_migrate_pages, 0, 64, (unsigned long[]){1}, (unsigned long[]){1}))
CALL(remap_file_pages, syscall(SYS_remap_file_pages, pages(MAP_SHARED), 4096, 0, 1, 0))
CALL(mlock, syscall(SYS_mlock, pages(MAP_PRIVATE), 4096))
CALL(membarrier, syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0))

/* The whole machine. Nothing here changes anything: the arguments are those that a call refuses last, or that mean "as it is". */
CALL(swapon, syscall(SYS_swapon, "/no such file", 0))
CALL(reboot, syscall(SYS_reboot, 0, 0, 0, NULL))
CALL(init_module, syscall(SYS_init_module, NULL, 0L, ""))
CALL(finit_module, syscall(SYS_finit_module, -1, "", 0))
CALL(delete_module, syscall(SYS_delete_module, "no such module", 0))
CALL(kexec_load, syscall(SYS_kexec_load, 0, 17L, NULL, 0))
CALL(acct, syscall(SYS_acct, NULL))
CALL(syslog, syscall(SYS_syslog, 3, (char[256]){0}, 256))
CALL(sethostname, sethostname("x", 1))
CALL(setdomainname, setdomainname("x", 1))
CALL(settimeofday, syscall(SYS_settimeofday, NULL, NULL))
CALL(clock_settime, syscall(SYS_clock_settime, CLOCK_MONOTONIC, &(struct timespec){0}))
CALL(adjtimex, syscall(SYS_adjtimex, (char[256]){0}))

/* Privileges of this process. */
CALL(setuid, syscall(SYS_setuid, a[0]))
CALL(setgid, syscall(SYS_setgid, a[0]))
CALL(setgroups, syscall(SYS_setgroups, 1, (gid_t[]){0}))
ATTACK(capset) {
  uint32_t header[2] = {0x20080522, 0}, data[6] = {0};
  if (syscall(SYS_capget, header, data) < 0) return -1;
  return syscall(SYS_capset, header, data);
}
CALL(prctl, syscall(SYS_prctl, a[0], a[1], a[2], a[3], a[4]))
static struct sock_fprog *allow_all(void) {
  static struct sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  static struct sock_fprog program = {1, &allow};
  return &program;
}
CALL(prctl_seccomp, prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, allow_all()))
CALL(seccomp, syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, allow_all()))
CALL(landlock_create_ruleset, syscall(SYS_landlock_create_ruleset, &(struct landlock_ruleset_attr){.handled_access_fs = 1}, 8, 0))
CALL(landlock_restrict_self, syscall(SYS_landlock_restrict_self, syscall(SYS_landlock_create_ruleset, &(struct landlock_ruleset_attr){.handled_access_fs = 1}, 8, 0), 0))
CALL(sched_setscheduler, syscall(SYS_sched_setscheduler, 0, a[0], &(int){(int)a[1]}))
CALL(sched_setattr, syscall(SYS_sched_setattr, 0, (uint32_t[12]){48, SCHED_BATCH}, 0))
CALL(setpriority, syscall(SYS_setpriority, 0, 0, -5))
CALL(ioprio_set, syscall(SYS_ioprio_set, 1, 0, (1 << 13) | 4))

/* Terminals: characters put into somebody's input. */
static int terminal(void) {
  char path[32];
  unsigned int number = 0, unlocked = 0;
  int leader = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
  syscall(SYS_ioctl, leader, 0x40045431, &unlocked);
  syscall(SYS_ioctl, leader, 0x80045430, &number);
  snprintf(path, sizeof path, "/dev/pts/%u", number);
  return open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
}
CALL(ioctl, syscall(SYS_ioctl, terminal(), a[0], (char[256]){0}))

/* Queues and memory of the kernel that outlive their maker. */
CALL(mq_open, syscall(SYS_mq_open, "x", O_RDWR | O_CREAT, 0600, NULL))
CALL(shmget, syscall(SYS_shmget, IPC_PRIVATE, 4096, IPC_CREAT | 0600))
CALL(semget, syscall(SYS_semget, IPC_PRIVATE, 1, IPC_CREAT | 0600))
CALL(msgget, syscall(SYS_msgget, IPC_PRIVATE, IPC_CREAT | 0600))
