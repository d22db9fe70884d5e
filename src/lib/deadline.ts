/** Promises with a limit: a time, or a signal. */

/** What {@link within} rejects with when the time is over. */
export class TimeoutError extends Error {
  override readonly name = "TimeoutError";
}

/** The promise's value, or a {@link TimeoutError} after `timeoutMs`. The promise itself goes on; its late failure is swallowed. */
export async function within<T>(promise: Promise<T>, timeoutMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new TimeoutError(`${what} took longer than ${timeoutMs} ms`));
    }, timeoutMs);
  });
  promise.catch(() => undefined);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for the promise, but no longer than until the signal is aborted. Rejects as the promise does. */
export async function beforeAbort(promise: Promise<unknown>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  let onAbort = (): void => undefined;
  const aborted = new Promise<void>((resolve) => {
    onAbort = resolve;
  });
  signal.addEventListener("abort", onAbort);
  await Promise.race([promise, aborted]).finally(() => {
    signal.removeEventListener("abort", onAbort);
  });
}
