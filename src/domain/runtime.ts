/** A runtime as the rest of the system sees it: parsed, checked, with all defaults filled in. */

import type { ImageSpec } from "./image-spec.ts";
import type { RuntimeLimits } from "./limits.ts";
import type { Permissions } from "./permissions.ts";

export type Language = "typescript" | "javascript";

/** Guard rails inside the language runtime. They help honest programs; no security rests on them. */
export interface Guards {
  /** Module names that an import may name; `["*"]` is every module of the image. */
  readonly allowedModules: readonly string[];
  /** No code from strings: `eval`, `new Function`. */
  readonly denyCodeGeneration: boolean;
}

export interface RuntimeDefinition {
  readonly name: string;
  readonly language: Language;
  /** The version that the configuration asks for, as written. */
  readonly version: string;
  readonly image: ImageSpec;
  readonly permissions: Permissions;
  readonly limits: RuntimeLimits;
  readonly guards: Guards;
  /** The engine's runtime (`runc`, `crun`, `runsc`); `undefined` is the engine's default. */
  readonly engineRuntime: string | undefined;
  /** Why it cannot run here, whatever a request asks for; empty when it can. Each names the entry of the configuration. */
  readonly unavailable: readonly string[];
}

/** What one execution may do: the runtime's policy, narrowed by its request. The sandbox layer compiles a container from it. */
export interface EffectivePolicy {
  readonly runtime: string;
  readonly language: Language;
  readonly image: ImageSpec;
  readonly permissions: Permissions;
  /** What the runtime grants, before the request narrowed it. Nothing is enforced by this: it is for telling what would allow more. */
  readonly granted: Permissions;
  readonly limits: RuntimeLimits["defaults"];
  readonly guards: Guards;
  readonly engineRuntime: string | undefined;
}
