/**
 * The attacks on the kernel's border, as data: what the probe is called with, what it gets where there is no filter, and what a
 * sandbox answers.
 */

export interface KernelAttack {
  /** `name:argument:...` of the probe. */
  readonly call: string;
  readonly title: string;
  readonly without: string;
  /** Outcomes that a machine without this feature gives in the control, and what that means. */
  readonly cannotShow: Readonly<Record<string, string>>;
  readonly within: string;
  /** What stops it; the filter unless it says otherwise. */
  readonly layer: string;
  /** The outcome where a runtime has more than one process. */
  readonly many: string;
  /** The outcome where a runtime has TCP on its loopback. */
  readonly loopback: string;
}

type Options = Partial<Pick<KernelAttack, "without" | "cannotShow" | "within" | "layer" | "many" | "loopback">>;

/** Any of these in the control means that this kernel was built without the thing. */
const NOT_IN_THIS_KERNEL = { ENOSYS: "not in this kernel" };
const NO_SUCH_SOCKET = { EAFNOSUPPORT: "no such family in this kernel", EPROTONOSUPPORT: "no such protocol in this kernel" };
const NO_RESOURCE = { EPERM: "this machine gives no CAP_SYS_RESOURCE to its containers" };

function refused(call: string, title = call, options: Options = {}): KernelAttack {
  const { cannotShow = {}, layer = "seccomp", without = "ok", within = "EPERM", many = within, loopback = within } = options;
  return { call, title, without, within, layer, many, loopback, cannotShow: { ...NOT_IN_THIS_KERNEL, ...cannotShow } };
}

const all = (...calls: string[]): KernelAttack[] => calls.map((call) => refused(call));
/** What the control reaches, but does not carry out: it would harm the machine, or needs more than a probe has. */
const reached = (without: string, ...calls: string[]): KernelAttack[] => calls.map((call) => refused(call, call, { without }));
const socket = (call: string, title: string): KernelAttack => refused(call, `socket: ${title}`, { cannotShow: NO_SUCH_SOCKET });

const SOCKETS = [
  ...Object.entries({ "socket:2:1:0": "TCP", "socket:2:1:6": "TCP by number", "socket:2:0x80801:0": "TCP, not blocking" }).map(
    ([call, title]) => refused(call, `socket: ${title}`, { loopback: "ok" }),
  ),
  ...Object.entries({ "socket:10:1:0": "TCP over IPv6", "socket:10:1:6": "TCP over IPv6 by number" }).map(([call, title]) =>
    refused(call, `socket: ${title}`, { cannotShow: NO_SUCH_SOCKET, loopback: "ok|EAFNOSUPPORT" }),
  ),
  socket("socket:16:3:0", "netlink"),
  socket("socket:16:3:6", "netlink for xfrm"),
  socket("socket:16:3:12", "netlink for netfilter"),
  socket("socket:17:3:768", "packet"),
  socket("socket:2:3:6", "raw IPv4"),
  socket("socket:10:3:58", "raw IPv6"),
  socket("socket:2:2:0", "UDP"),
  socket("socket:10:2:0", "UDP over IPv6"),
  socket("socket:2:0x802:0", "UDP, not blocking"),
  socket("socket:2:2:1", "ICMP without privileges"),
  socket("socket:2:1:132", "SCTP"),
  socket("socket:2:1:262", "MPTCP"),
  socket("socket:40:1:0", "vsock"),
  socket("socket:38:5:0", "AF_ALG"),
  socket("socket:44:3:0", "XDP"),
  socket("socket:15:3:2", "PF_KEY"),
  socket("socket:33:2:2", "rxrpc"),
  socket("socket:1:3:0", "unix, raw"),
  socket("socket:0x100000010:3:0", "netlink, with the family's upper half set"),
  socket("socket:2:0x100000002:0", "UDP, with the type's upper half set"),
  socket("socket:2:1:0x100000106", "MPTCP, with the protocol's upper half set"),
];

const option = (level: string, name: string, title: string, value = "1", without = "ok"): KernelAttack =>
  refused(`setsockopt:${level}:${name}:${value}`, `setsockopt: ${title}`, { without });
const SOCKET_OPTIONS = [
  option("1", "7", "SO_SNDBUF", "65536"),
  option("1", "8", "SO_RCVBUF", "65536"),
  option("1", "32", "SO_SNDBUFFORCE", "65536"),
  option("1", "33", "SO_RCVBUFFORCE", "65536"),
  option("1", "0x100000008", "SO_RCVBUF, with the option's upper half set", "65536"),
  option("0x100000001", "8", "SO_RCVBUF, with the level's upper half set", "65536"),
  option("1", "25", "SO_BINDTODEVICE", "0x6f6c"),
  option("1", "36", "SO_MARK"),
  option("1", "46", "SO_BUSY_POLL"),
  option("1", "60", "SO_ZEROCOPY"),
  option("1", "26", "SO_ATTACH_FILTER", "1:16", "EINVAL"),
  option("1", "50", "SO_ATTACH_BPF", "0", "EINVAL"),
  option("6", "13", "TCP_CONGESTION", "0x6369627563:5"),
  option("6", "19", "TCP_REPAIR"),
  option("6", "14", "TCP_MD5SIG", "0:216", "EINVAL"),
  option("0", "19", "IP_TRANSPARENT"),
  option("0", "64", "IPT_SO_SET_REPLACE", "0:84", "EINVAL"),
];

const NO_OOB = { EOPNOTSUPP: "unix sockets of this kernel have no such data" };
const SENDING = ["sendto", "sendmsg", "sendmmsg"].flatMap((call) => [
  refused(`${call}:1`, `${call}: out-of-band data`, { cannotShow: NO_OOB }),
  refused(`${call}:0x100000001`, `${call}: out-of-band data, with the flags' upper half set`, { cannotShow: NO_OOB }),
]);

/** Calls that only x86-64 has. */
const OF_X86 = [
  ...all("modify_ldt", "mknod", "ioperm", "iopl", "lookup_dcookie", "nfsservctl"),
  refused("fork_call", "fork, by its own number", { many: "ok" }),
];

const noexec = { layer: "noexec", within: "EACCES" };
const CODE = [
  ...all("memfd_create", "memfd_secret"),
  refused("exec_memfd", "a program in a memfd, through /proc/self/fd", { without: "executed" }),
  refused("execveat", "execveat without a path", { without: "executed" }),
  refused("exec_file", "a program that was written", { ...noexec, without: "executed" }),
  refused("exec_file_by_fd", "the same, through /proc/self/fd", { ...noexec, without: "executed" }),
  refused("exec_script", "a script that was written, with an interpreter of the image", { ...noexec, without: "executed" }),
  refused("map_executable", "mmap of a written file as code", { ...noexec, within: "EPERM" }),
  refused("make_executable", "mprotect of a written file to code", noexec),
];

const NAMESPACES = {
  NEWNS: 0x20000,
  NEWCGROUP: 0x2000000,
  NEWUTS: 0x4000000,
  NEWIPC: 0x8000000,
  NEWUSER: 0x10000000,
  NEWPID: 0x20000000,
  NEWNET: 0x40000000,
};
const SIGCHLD = 17;
const hex = (value: number): string => `0x${value.toString(16)}`;
const PROCESSES = [
  refused("fork", "fork", { many: "ok" }),
  refused("vfork", "vfork", { many: "ok" }),
  refused("forks_beside_threads", "fork, again and again, while threads work", {
    without: "forked, 16 of 16 threads ran",
    within: "no fork, 16 of 16 threads ran",
    many: "forked, 16 of 16 threads ran",
  }),
  refused(`clone:${SIGCHLD}`, "clone without CLONE_THREAD", { many: "ok" }),
  refused("clone:0x100000011", "clone, with the flags' upper half set", { many: "ok" }),
  refused("clone:0x1000000000011", "clone, with CLONE_THREAD in the upper half only", { many: "ok" }),
  ...Object.entries(NAMESPACES).map(([name, flag]) => refused(`clone:${hex(flag + SIGCHLD)}`, `clone, CLONE_${name}`)),
  ...(["NEWCGROUP", "NEWUTS", "NEWIPC", "NEWNET"] as const).map((name) =>
    refused(`clone_thread:${hex(NAMESPACES[name])}`, `clone of a thread, CLONE_${name}`),
  ),
  ...["0", "0x10000000", "0x40000000", "0x80"].map((flags) =>
    refused(`clone3:${flags}`, `clone3, flags ${flags}`, { cannotShow: {}, within: "ENOSYS" }),
  ),
  ...Object.entries({ ...NAMESPACES, NEWTIME: 0x80, FILES: 0x400 }).map(([name, flag]) =>
    refused(`unshare:${hex(flag)}`, `unshare, CLONE_${name}`),
  ),
];

const prctl = (call: string, title: string, options: Options = {}): KernelAttack => refused(`prctl:${call}`, `prctl: ${title}`, options);
const PRIVILEGES = [
  ...all("setuid:0", "setuid:1000", "setgid:0", "setgroups", "capset", "seccomp", "landlock_create_ruleset", "ioprio_set"),
  ...reached("EBADFD|EBADF|ok", "landlock_restrict_self"),
  prctl("4:1", "PR_SET_DUMPABLE"),
  prctl("0x100000004:1", "PR_SET_DUMPABLE, with the upper half set"),
  refused("prctl_seccomp", "prctl: PR_SET_SECCOMP"),
  prctl("1:9", "PR_SET_PDEATHSIG"),
  prctl("8:1", "PR_SET_KEEPCAPS"),
  prctl("24:0", "PR_CAPBSET_DROP"),
  prctl("26:1", "PR_SET_TSC"),
  prctl("28:0", "PR_SET_SECUREBITS"),
  prctl("35:9", "PR_SET_MM", { without: "EINVAL", cannotShow: NO_RESOURCE }),
  prctl("36:1", "PR_SET_CHILD_SUBREAPER"),
  prctl("41:1", "PR_SET_THP_DISABLE"),
  prctl("47:4", "PR_CAP_AMBIENT"),
  prctl("57:1", "PR_SET_IO_FLUSHER", { cannotShow: NO_RESOURCE }),
  prctl("59:0", "PR_SET_SYSCALL_USER_DISPATCH"),
  prctl("67:1", "PR_SET_MEMORY_MERGE", { cannotShow: { EINVAL: "this kernel merges no memory" } }),
  prctl("0x59616d61:1", "PR_SET_PTRACER", { cannotShow: { EINVAL: "this kernel has no Yama" } }),
  refused("sched_setscheduler:1:1", "sched_setscheduler: real time", {
    cannotShow: { EPERM: "the control group of a container has no share of real time here" },
  }),
  refused("sched_setscheduler:3:0", "sched_setscheduler: batch"),
  refused("sched_setattr", "sched_setattr"),
  refused("setpriority", "setpriority: above others", { layer: "capabilities", within: "EACCES" }),
];

const ioctl = (call: string, title: string, without = "ok"): KernelAttack => refused(`ioctl:${call}`, `ioctl: ${title}`, { without });
const TERMINALS = [
  ioctl("0x5412", "TIOCSTI"),
  ioctl("0x100005412", "TIOCSTI, with the request's upper half set"),
  ioctl("0x100005401", "TCGETS, with the request's upper half set"),
  ioctl("0x5402", "TCSETS"),
  ioctl("0x5423", "TIOCSETD"),
  // Reached, but on a terminal that is no console, or no such device.
  ioctl("0x541c", "TIOCLINUX", "ENOTTY"),
  ioctl("0x8912", "SIOCGIFCONF", "ENOTTY"),
  ioctl("0x400454ca", "TUNSETIFF", "ENOTTY"),
  ioctl("0x40086602", "FS_IOC_SETFLAGS", "ENOTTY"),
];

const HUGE_PAGES = [
  // Reached: the pool of this machine is empty, or has some.
  refused("huge_pages:2", "mmap: huge pages", { without: "ok|ENOMEM" }),
  refused("huge_pages:2:0x100000000", "mmap: huge pages, with the flags' upper half set", { without: "ok|ENOMEM" }),
  refused("huge_pages:1024:0x78000000", "mmap: huge pages of 1 GB", { without: "ok|ENOMEM|EINVAL" }),
];

/** Every attack that the process survives, so that one container can run them all. */
export function kernelAttacks(isX86: boolean): KernelAttack[] {
  return [
    ...SOCKETS,
    ...SOCKET_OPTIONS,
    ...SENDING,
    refused("flock:6", "flock: a file that can only be read"),
    refused("locks:6", "fcntl: POSIX locks, 60 MB of the kernel's memory", { without: "held", within: "free", many: "EPERM" }),
    refused("locks:37", "fcntl: locks of open files, 60 MB of the kernel's memory", { without: "held" }),
    ...(isX86 ? OF_X86 : []),
    ...CODE,
    ...HUGE_PAGES,
    ...PROCESSES,
    ...all("ptrace_traceme", "ptrace_seize", "process_vm_readv", "process_vm_writev", "process_madvise"),
    ...all("pidfd_open", "pidfd_getfd", "pidfd_send_signal", "kcmp"),
    ...all("mount", "umount2", "fsopen", "fsconfig", "fsmount", "move_mount", "fspick", "open_tree", "mount_setattr"),
    ...all("setns", "setns_init", "chroot", "pivot_root", "mknodat", "quotactl", "fanotify_init"),
    ...all("name_to_handle_at", "open_by_handle_at").map((attack) => ({
      ...attack,
      cannotShow: { ...attack.cannotShow, EOPNOTSUPP: "the engine's disk has no handles", EINVAL: "the engine's disk has no handles" },
    })),
    ...all("keyctl", "add_key"),
    ...reached("ENOKEY", "request_key"),
    ...all(
      "bpf",
      "perf_event_open",
      "io_uring_setup",
      "io_uring_enter",
      "userfaultfd",
      "personality",
      "prlimit64_set",
      "setrlimit",
      "io_setup",
    ),
    ...all("vmsplice", "splice", "tee", "mbind", "set_mempolicy", "move_pages", "migrate_pages", "remap_file_pages", "mlock"),
    ...reached("ENOENT", "swapon"),
    ...reached("EINVAL", "reboot", "clock_settime"),
    ...reached("EFAULT|EINVAL|ENOEXEC|EBADF|ENOENT", "init_module", "finit_module", "delete_module"),
    ...reached("EINVAL", "kexec_load"),
    ...all("acct", "syslog", "sethostname", "setdomainname", "settimeofday", "adjtimex"),
    ...PRIVILEGES,
    ...TERMINALS,
    ...all("mq_open", "shmget", "semget", "msgget"),
  ];
}

/** What must go on working: threads and what they need, and TCP where a runtime has it. */
export const ALLOWED_CALLS = [
  "sendto:0x4000",
  "sendmsg:0x4000",
  "sendmmsg:0x4000",
  "threads:16",
  "clone_thread:0",
  "membarrier",
  "socket:1:1:0",
  "socketpair:1:1:0",
];
export const ALLOWED_WITH_LOOPBACK = [...ALLOWED_CALLS, "socket:2:1:0", "setsockopt:6:1:1"];
