/**
 * Containers for attacks: with exactly the flags of a sandbox, with none of them, or with some, and what came of one run.
 */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { PassThrough } from "node:stream";
import { text } from "node:stream/consumers";

import type Docker from "dockerode";

import { plainImage } from "../../../src/domain/image-spec.ts";
import { compileContainer } from "../../../src/sandbox/docker/container-config.ts";
import { engineArchitecture } from "../../../src/sandbox/docker/image/architecture.ts";
import { findImage } from "../../../src/sandbox/docker/image/find-image.ts";
import { packageRoot } from "../../../src/lib/package-info.ts";
import { docker } from "../../helpers/service.ts";
import { policyOf } from "../../unit/support/policies.ts";

type ContainerOptions = Docker.ContainerCreateOptions & { HostConfig: Docker.HostConfig };

export interface ContainerEnd {
  readonly stdout: string;
  readonly stderr: string;
  /** 128 + the signal's number when a signal ended it. */
  readonly exitCode: number;
  readonly oomKilled: boolean;
}

const RUN_WITHIN_MS = 60_000;
/** Not leased: the engine has no other container with it, since leases start at 20000. */
const UID = 19_999;

/** The id of the sandbox image of these sources. */
export async function sandboxImageId(): Promise<string> {
  const found = await findImage({ docker, packageRoot, image: plainImage(24) });
  if (found.state !== "ready") throw new Error(found.message);
  return found.id;
}

/**
 * What a sandbox of a runtime with these settings is started with, but with another image and command, and with no mount from the
 * host: its sockets and its workspace folder are missing.
 */
export async function sandboxOptions(command: readonly string[], imageId: string, settings: object = {}): Promise<ContainerOptions> {
  const options = compileContainer({
    policy: policyOf({ permissions: { fileSystem: { write: ["./temp"] } }, ...settings }),
    imageId,
    executableGroups: new Map(),
    architecture: await engineArchitecture(docker),
    uid: UID,
    labels: {},
    directories: [],
    etcFiles: [],
  });
  return {
    ...options,
    Entrypoint: [...command.slice(0, 1)],
    Cmd: command.slice(1),
    OpenStdin: false,
    HostConfig: { ...options.HostConfig },
  };
}

/** By number, from CAP_CHOWN on: capability.h. The last three are left out: engines of 2020 do not know them. */
const CAPABILITIES =
  "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ".split(
    " ",
  );

/** The capabilities that this machine can give at all; in a virtual machine or a container they may be fewer than exist. */
function hostCapabilities(): string[] {
  const bounding = BigInt(`0x${/CapBnd:\s+(\w+)/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? "0"}`);
  return CAPABILITIES.filter((_, index) => ((bounding >> BigInt(index)) & 1n) === 1n);
}

/** A container with nothing of ours in force: root, every capability of the machine, no filter, writable, nothing masked. */
export function unrestrictedOptions(command: readonly string[], imageId: string, more: Partial<Docker.HostConfig> = {}): ContainerOptions {
  return {
    Image: imageId,
    Entrypoint: [...command.slice(0, 1)],
    Cmd: command.slice(1),
    User: "0:0",
    HostConfig: {
      CapAdd: hostCapabilities(),
      NetworkMode: "none",
      SecurityOpt: ["seccomp=unconfined", "apparmor=unconfined"],
      MaskedPaths: [],
      ReadonlyPaths: [],
      ...more,
    },
  };
}

/** Runs a container to its end and removes it. Ends it after a minute. */
export async function runContainer(options: Docker.ContainerCreateOptions): Promise<ContainerEnd> {
  const container = await docker.createContainer({ ...options, name: `code-mode-attack-${randomBytes(6).toString("hex")}` });
  try {
    const stream = await container.attach({ stream: true, stdout: true, stderr: true });
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    docker.modem.demuxStream(stream, stdout, stderr);
    stream.on("end", () => {
      stdout.end();
      stderr.end();
    });
    const output = Promise.all([text(stdout), text(stderr)]);
    const overdue = setTimeout(() => void container.kill().catch(() => undefined), RUN_WITHIN_MS);
    try {
      await container.start();
      await container.wait();
    } finally {
      clearTimeout(overdue);
    }
    const { State: state } = await container.inspect();
    const [out, err] = await output;
    return { stdout: out, stderr: err, exitCode: state.ExitCode, oomKilled: state.OOMKilled };
  } finally {
    await container.remove({ force: true, v: true });
  }
}
