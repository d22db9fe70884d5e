/**
 * The seccomp profile, as structure and as a decision: a small reading of the engine's format, written apart from the compiler, says
 * what happens to a system call.
 */

import assert from "node:assert/strict";

import fc from "fast-check";

import { compileSeccomp } from "../../../../src/sandbox/docker/seccomp.ts";
import type { SeccompProfile } from "../../../../src/sandbox/docker/seccomp.ts";

const PROFILES = (["amd64", "arm64"] as const).flatMap((architecture) =>
  (["one", "many"] as const).flatMap((processes) =>
    [false, true].map((tcp) => ({
      kind: `${architecture}, ${processes}${tcp ? ", TCP" : ""}`,
      architecture,
      profile: compileSeccomp({ architecture, processes, tcp }),
    })),
  ),
);
const ONE = compileSeccomp({ architecture: "amd64", processes: "one", tcp: false });
const MANY = compileSeccomp({ architecture: "amd64", processes: "many", tcp: false });
const WITH_TCP = compileSeccomp({ architecture: "amd64", processes: "one", tcp: true });

/** "allow", or the error number; 1 is EPERM, the engine's default. */
function decide(profile: SeccompProfile, name: string, args: readonly bigint[] = []): "allow" | number {
  const matching = profile.syscalls.filter(
    (rule) =>
      rule.names.includes(name) &&
      (rule.args ?? []).every(({ index, op, value, valueTwo }) => {
        const argument = BigInt.asUintN(64, args[index] ?? 0n);
        return op === "SCMP_CMP_EQ" ? argument === BigInt(value) : (argument & BigInt(value)) === BigInt(valueTwo);
      }),
  );
  if (matching.some(({ action }) => action === "SCMP_ACT_ALLOW")) return "allow";
  return matching[0]?.errnoRet ?? 1;
}

const FILTERED = [
  "clone",
  "clone3",
  "socket",
  "socketpair",
  "setsockopt",
  "prctl",
  "ioctl",
  "mmap",
  "sendto",
  "sendmsg",
  "sendmmsg",
  "fcntl",
  "fsync",
  "fdatasync",
  "sync_file_range",
];
const FORBIDDEN = [
  "ptrace",
  "process_vm_readv",
  "process_vm_writev",
  "kcmp",
  "pidfd_open",
  "pidfd_getfd",
  "pidfd_send_signal",
  "process_madvise",
  "memfd_create",
  "memfd_secret",
  "execveat",
  "uselib",
  "userfaultfd",
  "vmsplice",
  "splice",
  "tee",
  "io_uring_setup",
  "io_uring_enter",
  "io_uring_register",
  "io_setup",
  "io_submit",
  "io_getevents",
  "bpf",
  "perf_event_open",
  "seccomp",
  "landlock_create_ruleset",
  "fanotify_init",
  "quotactl",
  "lookup_dcookie",
  "mount",
  "umount",
  "umount2",
  "move_mount",
  "open_tree",
  "fsopen",
  "fsconfig",
  "fsmount",
  "fspick",
  "mount_setattr",
  "pivot_root",
  "chroot",
  "unshare",
  "setns",
  "personality",
  "modify_ldt",
  "acct",
  "swapon",
  "swapoff",
  "reboot",
  "syslog",
  "vhangup",
  "nfsservctl",
  "init_module",
  "finit_module",
  "delete_module",
  "create_module",
  "kexec_load",
  "kexec_file_load",
  "iopl",
  "ioperm",
  "keyctl",
  "add_key",
  "request_key",
  "name_to_handle_at",
  "open_by_handle_at",
  "mknod",
  "mknodat",
  "setuid",
  "setgid",
  "setreuid",
  "setregid",
  "setresuid",
  "setresgid",
  "setgroups",
  "setfsuid",
  "setfsgid",
  "capset",
  "settimeofday",
  "clock_settime",
  "clock_adjtime",
  "adjtimex",
  "stime",
  "sethostname",
  "setdomainname",
  "shmget",
  "shmat",
  "shmctl",
  "semget",
  "semop",
  "semctl",
  "msgget",
  "msgsnd",
  "msgrcv",
  "mq_open",
  "mq_timedsend",
  "mbind",
  "set_mempolicy",
  "migrate_pages",
  "move_pages",
  "remap_file_pages",
  "mlock",
  "mlockall",
  "mlock2",
  "sched_setscheduler",
  "sched_setattr",
  "ioprio_set",
  "socketcall",
  "ipc",
  "flock",
];

describe("seccomp: the profile's structure", () => {
  for (const { architecture, kind, profile } of PROFILES) {
    it(`${kind}: is an allowlist of one ABI that answers everything else with an error`, () => {
      assert.equal(profile.defaultAction, "SCMP_ACT_ERRNO");
      assert.deepEqual(profile.architectures, [architecture === "amd64" ? "SCMP_ARCH_X86_64" : "SCMP_ARCH_AARCH64"]);
      assert.ok(!("archMap" in profile), "a map would let other ABIs in");
      for (const { action } of profile.syscalls) assert.ok(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO"].includes(action));
    });

    it(`${kind}: allows no name without a condition that it allows with one`, () => {
      const unconditional = profile.syscalls
        .filter(({ action, args }) => action === "SCMP_ACT_ALLOW" && args === undefined)
        .flatMap(({ names }) => names);
      assert.equal(new Set(unconditional).size, unconditional.length, "no name twice");
      for (const name of FILTERED) assert.ok(!unconditional.includes(name), name);
      const conditional = new Set(profile.syscalls.filter(({ args }) => args !== undefined).flatMap(({ names }) => names));
      for (const name of unconditional) assert.ok(!conditional.has(name), name);
      for (const { args } of profile.syscalls) assert.notDeepEqual(args, [], "a rule without arguments has no list of them");
    });

    it(`${kind}: names nothing that is forbidden`, () => {
      const named = new Set(profile.syscalls.flatMap(({ names }) => names));
      assert.deepEqual(
        FORBIDDEN.filter((name) => named.has(name)),
        [],
      );
    });

    it(`${kind}: compares numbers that the engine's format can hold`, () => {
      for (const { args = [] } of profile.syscalls) {
        for (const { index, op, value, valueTwo } of args) {
          assert.ok(Number.isSafeInteger(value) && value >= 0 && Number.isSafeInteger(valueTwo) && valueTwo >= 0);
          assert.ok(index >= 0 && index < 6);
          // A value with bits outside its mask never matches.
          if (op === "SCMP_CMP_MASKED_EQ") assert.equal(BigInt(valueTwo) & ~BigInt(value), 0n);
        }
      }
      assert.deepEqual(JSON.parse(JSON.stringify(profile)), profile);
    });
  }

  it("has what a Node process needs", () => {
    for (const name of [
      "read",
      "write",
      "openat",
      "mmap",
      "mprotect",
      "futex",
      "epoll_wait",
      "epoll_pwait",
      "execve",
      "exit_group",
      "rt_sigaction",
      "connect",
      "clock_gettime",
      "getrandom",
      "rseq",
      "eventfd2",
      "pipe2",
    ]) {
      assert.equal(decide(ONE, name), "allow", name);
    }
  });
});

describe("seccomp: resource limits", () => {
  it("can be read and not set", () => {
    for (const { profile } of PROFILES) {
      assert.equal(decide(profile, "prlimit64", [0n, 4n, 0n, 0x7ffd_0000n]), "allow");
      for (const limit of [1n, 0x7ffd_0000n, 1n << 32n]) assert.equal(decide(profile, "prlimit64", [0n, 4n, limit]), 1);
      assert.equal(decide(profile, "setrlimit", [4n]), 1);
    }
  });
});

describe("seccomp: extended attributes", () => {
  it("cannot be set, as on a file system that has none", () => {
    for (const { profile } of PROFILES) {
      for (const call of ["setxattr", "lsetxattr", "fsetxattr", "removexattr", "lremovexattr", "fremovexattr"])
        assert.equal(decide(profile, call), 95, call);
    }
  });
});

describe("seccomp: processes and namespaces", () => {
  const CLONE_THREAD = 0x10000n;
  const NAMESPACES = [0x20000n, 0x2000000n, 0x4000000n, 0x8000000n, 0x10000000n, 0x20000000n, 0x40000000n];
  const flags = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });

  it("with one process a thread can be made, a process cannot", () => {
    const thread = 0x3d0f00n;
    assert.equal(decide(ONE, "clone", [thread]), "allow");
    assert.equal(decide(ONE, "clone", [17n]), 1, "fork's own flags");
    assert.equal(decide(ONE, "clone", [0x4111n]), 1, "vfork's own flags");
    for (const name of ["fork", "vfork"]) assert.equal(decide(ONE, name), 1, name);
    fc.assert(
      fc.property(flags, (value) => {
        const isThread = (value & CLONE_THREAD) !== 0n && NAMESPACES.every((flag) => (value & flag) === 0n);
        assert.equal(decide(ONE, "clone", [value]), isThread ? "allow" : 1);
      }),
      { numRuns: 1000 },
    );
  });

  it("with many a process can be made, a namespace cannot", () => {
    for (const name of ["fork", "vfork"]) assert.equal(decide(MANY, name), "allow", name);
    for (const flag of NAMESPACES) assert.equal(decide(MANY, "clone", [flag | 17n]), 1, flag.toString(16));
    fc.assert(
      fc.property(flags, (value) => {
        assert.equal(decide(MANY, "clone", [value]), NAMESPACES.every((flag) => (value & flag) === 0n) ? "allow" : 1);
      }),
      { numRuns: 1000 },
    );
  });

  it("clone3 does not exist, so that libc falls back", () => {
    for (const profile of [ONE, MANY]) assert.equal(decide(profile, "clone3"), 38);
  });
});

describe("seccomp: sockets", () => {
  const [NONBLOCK, CLOEXEC] = [0x800n, 0x80000n];
  /** What may exist, as family:type:protocol. */
  const UNIX = ["1:1:0", "1:2:0", "1:5:0"];
  const TCP = ["2", "10"].flatMap((family) => [`${family}:1:0`, `${family}:1:6`]);

  for (const [title, profile, kinds] of [
    ["unix sockets alone", ONE, UNIX],
    ["unix sockets alone, where there are processes", MANY, UNIX],
    ["unix and TCP sockets, where TCP is asked for", WITH_TCP, [...UNIX, ...TCP]],
  ] as const)
    it(`are ${title}, whatever flags their type bears`, () => {
      const existing = new Set(kinds);
      const small = fc.bigInt({ min: 0n, max: 50n });
      const type = fc.tuple(
        fc.bigInt({ min: 0n, max: 15n }),
        fc.constantFrom(0n, NONBLOCK, CLOEXEC, NONBLOCK | CLOEXEC, 0x10n, 0x1000n, 0x80000000n),
      );
      fc.assert(
        fc.property(small, type, fc.oneof(small, fc.constantFrom(0n, 6n, 17n, 132n, 262n)), (family, [kind, flag], protocol) => {
          const isFlag = [0n, NONBLOCK, CLOEXEC, NONBLOCK | CLOEXEC].includes(flag);
          const exists = isFlag && existing.has(`${family}:${kind}:${protocol}`);
          assert.equal(decide(profile, "socket", [family, kind | flag, protocol]), exists ? "allow" : 1);
        }),
        { numRuns: 5000 },
      );
      for (const kind of existing) {
        const [family, type_, protocol] = kind.split(":").map(BigInt);
        for (const flag of [0n, NONBLOCK, CLOEXEC, NONBLOCK | CLOEXEC])
          assert.equal(decide(profile, "socket", [family!, type_! | flag, protocol!]), "allow", kind);
      }
    });

  for (const [title, args] of [
    ["netlink", [16n, 3n, 0n]],
    ["packet", [17n, 3n, 0n]],
    ["vsock", [40n, 1n, 0n]],
    ["raw", [2n, 3n, 1n]],
    ["ICMP", [2n, 2n, 1n]],
    ["UDP", [2n, 2n, 17n]],
    ["UDP by default", [10n, 2n, 0n]],
    ["SCTP", [2n, 1n, 132n]],
    ["MPTCP", [2n, 1n, 262n]],
    ["AF_ALG", [38n, 5n, 0n]],
    ["a family whose upper half is not zero", [(1n << 32n) + 16n, 3n, 0n]],
  ] as const) {
    it(`of ${title} do not exist`, () => {
      for (const { profile } of PROFILES) assert.equal(decide(profile, "socket", args), 1);
    });
  }

  it("of TCP make no other difference", () => {
    const rest = (profile: SeccompProfile): unknown[] => profile.syscalls.filter(({ names }) => !names.includes("socket"));
    assert.deepEqual(rest(WITH_TCP), rest(ONE));
  });

  it("have options that cost no memory, and no others", () => {
    const allowed = new Set([
      "1:2",
      "1:6",
      "1:9",
      "1:13",
      "1:15",
      "6:1",
      "6:4",
      "6:5",
      "6:6",
      "6:18",
      "0:1",
      "0:2",
      "41:16",
      "41:26",
      "41:67",
    ]);
    for (let level = 0n; level < 300n; level += 1n) {
      for (let option = 0n; option < 120n; option += 1n) {
        assert.equal(decide(ONE, "setsockopt", [3n, level, option]), allowed.has(`${level}:${option}`) ? "allow" : 1, `${level}:${option}`);
      }
    }
    for (const [name, option] of [
      ["SO_SNDBUF", 7n],
      ["SO_RCVBUF", 8n],
      ["SO_ATTACH_FILTER", 26n],
      ["SO_ATTACH_BPF", 50n],
    ] as const) {
      assert.equal(decide(ONE, "setsockopt", [3n, 1n, option]), 1, name);
    }
  });

  it("come in pairs of the unix family only", () => {
    for (const type of [1n, 2n, 5n]) assert.equal(decide(ONE, "socketpair", [1n, type | CLOEXEC, 0n]), "allow");
    for (const args of [
      [2n, 1n, 0n],
      [16n, 3n, 0n],
      [1n, 3n, 0n],
      [1n, 1n, 1n],
    ])
      assert.equal(decide(ONE, "socketpair", args), 1);
  });
});

describe("seccomp: calls with many meanings", () => {
  it("prctl cannot make the process dumpable, change its filters, its name in memory maps aside, or its parent's signal", () => {
    const allowed = [3n, 15n, 16n, 21n, 23n, 29n, 30n, 39n, 0x53564d41n];
    for (let option = 0n; option < 100n; option += 1n)
      assert.equal(decide(ONE, "prctl", [option]), allowed.includes(option) ? "allow" : 1, `prctl ${option}`);
    assert.equal(decide(ONE, "prctl", [4n]), 1, "PR_SET_DUMPABLE");
    assert.equal(decide(ONE, "prctl", [22n]), 1, "PR_SET_SECCOMP");
    assert.equal(decide(ONE, "prctl", [(1n << 32n) + 4n]), 1);
  });

  it("send calls carry no out-of-band data", () => {
    for (const [name, index] of [
      ["sendto", 3],
      ["sendmsg", 2],
      ["sendmmsg", 3],
    ] as const) {
      const send = (flags: bigint): "allow" | number =>
        decide(
          ONE,
          name,
          Array.from({ length: 6 }, (_, at) => (at === index ? flags : 1n)),
        );
      // MSG_DONTWAIT and MSG_NOSIGNAL
      for (const flags of [0n, 0x40n, 0x4000n, 0x4040n]) assert.equal(send(flags), "allow", `${name} ${flags}`);
      for (const flags of [1n, 0x4041n, (1n << 32n) + 1n]) assert.equal(send(flags), 1, `${name} ${flags}`);
    }
  });

  it("mmap takes no huge pages, of whatever size", () => {
    const map = (flags: bigint): "allow" | number => decide(ONE, "mmap", [0n, 4096n, 3n, flags, -1n, 0n]);
    // MAP_PRIVATE, MAP_ANONYMOUS, MAP_STACK, MAP_NORESERVE
    for (const flags of [0x02n, 0x22n, 0x20022n, 0x4022n]) assert.equal(map(flags), "allow", flags.toString(16));
    // MAP_HUGETLB, and with a size in the upper bits
    for (const flags of [0x40022n, 0x40022n | (21n << 26n), 0x40022n | (30n << 26n), (1n << 32n) + 0x40022n])
      assert.equal(map(flags), 1, flags.toString(16));
  });

  it("fcntl takes no lock: with one process it seems to, with more it is refused", () => {
    const fcntl = (profile: SeccompProfile, command: bigint): "allow" | number => decide(profile, "fcntl", [3n, command, 0n]);
    for (const profile of [ONE, MANY]) {
      for (const command of [0n, 1n, 2n, 3n, 4n, 5n, 1030n]) assert.equal(fcntl(profile, command), "allow", String(command));
      // F_OFD_GETLK, SETLK and SETLKW, F_SETLEASE, F_NOTIFY, F_SETPIPE_SZ, F_ADD_SEALS, F_SETSIG
      for (const command of [36n, 37n, 38n, 1024n, 1026n, 1031n, 1033n, 10n, (1n << 32n) + 6n])
        assert.equal(fcntl(profile, command), 1, String(command));
    }
    for (const command of [6n, 7n]) assert.deepEqual([fcntl(ONE, command), fcntl(MANY, command)], [0, 1]);
  });

  it("fsync and its kin answer success and are not made", () => {
    for (const { profile } of PROFILES)
      for (const name of ["fsync", "fdatasync", "sync_file_range"]) assert.equal(decide(profile, name, [3n]), 0);
  });

  it("ioctl cannot push characters into a terminal or speak to devices", () => {
    for (const request of [0x5401n, 0x5413n, 0x541bn, 0x5421n, 0x5450n, 0x5451n])
      assert.equal(decide(ONE, "ioctl", [0n, request]), "allow", request.toString(16));
    for (const [name, request] of [
      ["TIOCSTI", 0x5412n],
      ["TIOCLINUX", 0x541cn],
      ["TIOCSCTTY", 0x540en],
      ["TCSETS", 0x5402n],
      ["SIOCGIFCONF", 0x8912n],
      ["FS_IOC_SETFLAGS", 0x40086602n],
    ] as const) {
      assert.equal(decide(ONE, "ioctl", [0n, request]), 1, name);
    }
    assert.equal(decide(ONE, "ioctl", [0n, (1n << 32n) + 0x5401n]), 1, "the upper half counts");
  });
});
