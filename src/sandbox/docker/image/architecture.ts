/**
 * The processors that a sandbox image can be built for, and what Debian calls things on each.
 */

import type Docker from "dockerode";
import { engineError } from "./engine-messages.ts";
import { ImageBuildError } from "./image-error.ts";

export const ARCHITECTURES = {
  amd64: { triplet: "x86_64-linux-gnu", loader: "usr/lib64/ld-linux-x86-64.so.2" },
  arm64: { triplet: "aarch64-linux-gnu", loader: "usr/lib/ld-linux-aarch64.so.1" },
} as const;

export type Architecture = keyof typeof ARCHITECTURES;

/** The architecture of the engine, which may run on another machine. */
export async function engineArchitecture(docker: Docker): Promise<Architecture> {
  const { Arch: name } = await docker.version().catch((error: unknown) => {
    throw engineError(error, "asking for its version");
  });
  if (name === "amd64" || name === "arm64") return name;
  throw new ImageBuildError(
    "architecture_unsupported",
    `The Docker engine runs on "${name}". Sandbox images exist for ${Object.keys(ARCHITECTURES).join(" and ")}: use an engine on one of these.`,
  );
}
