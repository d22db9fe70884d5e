/**
 * The one table of errors that the service answers with, and the class that carries them.
 *
 * What a program does is never an error here: it is a result with a status (see `execution.ts`). These are for requests that cannot
 * be served and for faults of the service itself.
 */

/** Every error code of the API with its HTTP status. A code without a status does not compile. */
export const ERROR_STATUS = {
  INVALID_REQUEST: 400,
  LIMIT_EXCEEDED: 400,
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  PERMISSION_WIDENING: 403,
  NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  QUEUE_FULL: 429,
  SHUTTING_DOWN: 503,
  SANDBOX_UNAVAILABLE: 503,
  AUDIT_UNAVAILABLE: 503,
  INTERNAL: 500,
} as const satisfies Record<string, number>;

export type ErrorCode = keyof typeof ERROR_STATUS;

/** One problem of a request, with the path of the field it is about (`permissions.fileSystem.read.0`). */
export interface ErrorDetail {
  readonly path: string;
  readonly message: string;
}

export interface AppErrorOptions {
  readonly code: ErrorCode;
  /** For the caller: says what is wrong and what to change. Holds no secret and no path of the host. */
  readonly message: string;
  readonly details?: readonly ErrorDetail[];
  /** Seconds after which the same request may succeed; sent as `Retry-After`. */
  readonly retryAfterSeconds?: number;
  readonly cause?: unknown;
}

/** An error with a code of the table. */
export class AppError extends Error {
  override readonly name = "AppError";
  readonly code: ErrorCode;
  readonly details: readonly ErrorDetail[];
  readonly retryAfterSeconds: number | undefined;

  constructor(options: AppErrorOptions) {
    super(options.message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = options.code;
    this.details = options.details ?? [];
    this.retryAfterSeconds = options.retryAfterSeconds;
  }

  get status(): number {
    return ERROR_STATUS[this.code];
  }
}

/** The configuration or the machine is such that the service must not start. The message names what to mend. */
export class StartupError extends Error {
  override readonly name = "StartupError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[], cause?: unknown) {
    super(problems.join("\n"), cause === undefined ? undefined : { cause });
    this.problems = problems;
  }
}
