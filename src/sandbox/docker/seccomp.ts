/**
 * The seccomp profile: which system calls code in a sandbox can make. An allowlist; everything else fails with EPERM.
 *
 * Only the machine's own ABI is listed, with no map of others: a call through `int 0x80` or x32 ends its thread. Arguments are
 * compared for equality, never for inequality: the filter sees 64 bits of an argument that the kernel cuts to 32.
 */

import { SYSTEM_CALLS } from "./system-calls.ts";

/** `syscalls` entry of a profile, in the engine's format. */
interface Rule {
  readonly names: readonly string[];
  readonly action: "SCMP_ACT_ALLOW" | "SCMP_ACT_ERRNO";
  readonly errnoRet?: number;
  readonly args?: readonly {
    readonly index: number;
    readonly op: "SCMP_CMP_EQ" | "SCMP_CMP_MASKED_EQ";
    readonly value: number;
    readonly valueTwo: number;
  }[];
}

export interface SeccompProfile {
  readonly defaultAction: "SCMP_ACT_ERRNO";
  readonly architectures: readonly string[];
  readonly syscalls: readonly Rule[];
}

export type Architecture = "amd64" | "arm64";

const ABI: Readonly<Record<Architecture, string>> = { amd64: "SCMP_ARCH_X86_64", arm64: "SCMP_ARCH_AARCH64" };

/** In place of an error: the call is not made, and its caller does not learn of it. */
const SUCCESS = 0;
const ENOSYS = 38;
const EOPNOTSUPP = 95;

/** `prctl` options. PR_SET_DUMPABLE is not among them: the unreadable runtime must stay without core dumps and /proc/self/mem. */
const PRCTL_OPTIONS = {
  PR_GET_DUMPABLE: 3,
  PR_SET_NAME: 15,
  PR_GET_NAME: 16,
  PR_GET_SECCOMP: 21,
  PR_CAPBSET_READ: 23,
  PR_SET_TIMERSLACK: 29,
  PR_GET_TIMERSLACK: 30,
  PR_GET_NO_NEW_PRIVS: 39,
  PR_SET_VMA: 0x53564d41,
} as const;

/**
 * `fcntl` commands. Locks are not among them: each is memory of the kernel that no cgroup counts, and on a mounted folder the host's
 * programs would wait for it. Nor are leases, notifications and the sizes of pipes.
 */
const FCNTL_COMMANDS = {
  F_DUPFD: 0,
  F_GETFD: 1,
  F_SETFD: 2,
  F_GETFL: 3,
  F_SETFL: 4,
  F_GETLK: 5,
  F_DUPFD_CLOEXEC: 1030,
  F_GETPIPE_SZ: 1032,
} as const;
/** The locks of POSIX never keep a process from what is its own. So where there is only one, doing nothing is all that they do. */
const FCNTL_LOCKS = { F_SETLK: 6, F_SETLKW: 7 } as const;

/** Answered with success and not made: what a program writes is in memory, and on a mounted folder each would make the host's disk work. */
const SYNC_CALLS = ["fdatasync", "fsync", "sync_file_range"] as const;

/**
 * Setting extended attributes and access lists fails as on a file system that has none: on that, commands that keep a file's modes set
 * the plain ones. EPERM would make `cp -a` fail.
 */
const ATTRIBUTE_CALLS = ["fremovexattr", "fsetxattr", "lremovexattr", "lsetxattr", "removexattr", "setxattr"] as const;

/** `ioctl` requests. TIOCSTI and the like are not among them. */
const IOCTL_REQUESTS = {
  TCGETS: 0x5401,
  TIOCGWINSZ: 0x5413,
  FIONREAD: 0x541b,
  FIONBIO: 0x5421,
  FIONCLEX: 0x5450,
  FIOCLEX: 0x5451,
} as const;

const AF = { UNIX: 1, INET: 2, INET6: 10 } as const;
const SOCK = { STREAM: 1, DGRAM: 2, SEQPACKET: 5 } as const;
const IPPROTO = { DEFAULT: 0, TCP: 6 } as const;
/** SOCK_NONBLOCK and SOCK_CLOEXEC may be set in a socket's type; all other bits that the kernel looks at must match. */
const SOCKET_TYPE_MASK = 0xffff_ffff - 0x800 - 0x80000;

/** The options that can be set. SO_RCVBUF and SO_SNDBUF are not among them: such buffers are memory that no limit may count. */
const SOCKET_OPTIONS: readonly (readonly [level: number, option: number])[] = [
  // SOL_SOCKET: REUSEADDR, BROADCAST, KEEPALIVE, LINGER, REUSEPORT
  ...[2, 6, 9, 13, 15].map((option) => [1, option] as const),
  // IPPROTO_TCP: NODELAY, KEEPIDLE, KEEPINTVL, KEEPCNT, USER_TIMEOUT
  ...[1, 4, 5, 6, 18].map((option) => [6, option] as const),
  // IPPROTO_IP: TOS, TTL
  ...[1, 2].map((option) => [0, option] as const),
  // IPPROTO_IPV6: UNICAST_HOPS, V6ONLY, TCLASS
  ...[16, 26, 67].map((option) => [41, option] as const),
];

type SocketKind = readonly [family: number, type: number, protocol: number];

/**
 * Here and in the next list is every kind of socket that exists in a sandbox: no netlink, no vsock, no packet, raw, UDP, SCTP, MPTCP
 * or ICMP sockets.
 */
const UNIX_SOCKETS: readonly SocketKind[] = [
  [AF.UNIX, SOCK.STREAM, 0],
  [AF.UNIX, SOCK.DGRAM, 0],
  [AF.UNIX, SOCK.SEQPACKET, 0],
];
/** Only for runtimes that ask for them: no limit counts all of the kernel's memory that they take. */
const TCP_SOCKETS: readonly SocketKind[] = [AF.INET, AF.INET6].flatMap((family) => [
  [family, SOCK.STREAM, IPPROTO.DEFAULT] as const,
  [family, SOCK.STREAM, IPPROTO.TCP] as const,
]);

/** `send` calls, by the index of their flags. Out-of-band data is a part of unix sockets that broke before, and no program needs it. */
const SEND_CALLS = { sendto: 3, sendmsg: 2, sendmmsg: 3 } as const;
const MSG_OOB = 1;

/** Huge pages come from a pool of the host, where it has one. The memory limit does not count them. */
const MAP_HUGETLB = 0x40000;

const CLONE_THREAD = 0x10000;
/** Every CLONE_NEW* flag of clone(2): namespaces. */
const CLONE_NAMESPACES = 0x7e020000;

const equal = (index: number, value: number): NonNullable<Rule["args"]>[number] => ({ index, op: "SCMP_CMP_EQ", value, valueTwo: 0 });
const masked = (index: number, mask: number, value: number): NonNullable<Rule["args"]>[number] => ({
  index,
  op: "SCMP_CMP_MASKED_EQ",
  value: mask,
  valueTwo: value,
});

/**
 * Compiles the profile.
 *
 * With `processes: "one"` a thread can be made, a process cannot. `clone3` hides its flags from a filter, so it answers ENOSYS, on
 * which libc falls back to `clone` (EPERM would break threads). Without `tcp` there are unix sockets only.
 */
export function compileSeccomp(options: { architecture: Architecture; processes: "one" | "many"; tcp: boolean }): SeccompProfile {
  const { architecture, processes, tcp } = options;
  const allow = (names: readonly string[], ...args: NonNullable<Rule["args"]>): Rule =>
    args.length === 0 ? { names, action: "SCMP_ACT_ALLOW" } : { names, action: "SCMP_ACT_ALLOW", args };
  const answer = (errnoRet: number, names: readonly string[], ...args: NonNullable<Rule["args"]>): Rule => ({
    names,
    action: "SCMP_ACT_ERRNO",
    errnoRet,
    ...(args.length === 0 ? {} : { args }),
  });
  const clone =
    processes === "one"
      ? [allow(["clone"], masked(0, CLONE_NAMESPACES + CLONE_THREAD, CLONE_THREAD))]
      : [allow(["clone"], masked(0, CLONE_NAMESPACES, 0)), allow(["fork", "vfork"])];
  return {
    defaultAction: "SCMP_ACT_ERRNO",
    architectures: [ABI[architecture]],
    syscalls: [
      allow(SYSTEM_CALLS),
      ...Object.entries(SEND_CALLS).map(([name, flags]) => allow([name], masked(flags, MSG_OOB, 0))),
      allow(["mmap"], masked(3, MAP_HUGETLB, 0)),
      ...clone,
      answer(ENOSYS, ["clone3"]),
      // Limits can be read, not set: a core limit of zero is less than the one that is in force, see container-config.ts.
      allow(["prlimit64"], equal(2, 0)),
      ...Object.values(FCNTL_COMMANDS).map((command) => allow(["fcntl"], equal(1, command))),
      ...(processes === "one" ? Object.values(FCNTL_LOCKS).map((command) => answer(SUCCESS, ["fcntl"], equal(1, command))) : []),
      answer(SUCCESS, SYNC_CALLS),
      answer(EOPNOTSUPP, ATTRIBUTE_CALLS),
      ...Object.values(PRCTL_OPTIONS).map((option) => allow(["prctl"], equal(0, option))),
      ...Object.values(IOCTL_REQUESTS).map((request) => allow(["ioctl"], equal(1, request))),
      ...[...UNIX_SOCKETS, ...(tcp ? TCP_SOCKETS : [])].map(([family, type, protocol]) =>
        allow(["socket"], equal(0, family), masked(1, SOCKET_TYPE_MASK, type), equal(2, protocol)),
      ),
      ...SOCKET_OPTIONS.map(([level, option]) => allow(["setsockopt"], equal(1, level), equal(2, option))),
      ...[SOCK.STREAM, SOCK.DGRAM, SOCK.SEQPACKET].map((type) =>
        allow(["socketpair"], equal(0, AF.UNIX), masked(1, SOCKET_TYPE_MASK, type), equal(2, IPPROTO.DEFAULT)),
      ),
    ],
  };
}
