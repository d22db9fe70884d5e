/** Promises with a time limit. */

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
