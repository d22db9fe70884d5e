/** The attempts to connect to a server, one after the other, for those who wait for one to be over. */
export class Attempts {
  #under: { readonly promise: Promise<void>; readonly over: () => void } = pending();
  #isUnderWay = false;
  #any = false;

  /** Whether one is over by now. */
  get any(): boolean {
    return this.#any;
  }

  /** Resolves when the attempt that is under way is over, else the next one. */
  get next(): Promise<void> {
    return this.#under.promise;
  }

  begin(): void {
    this.#isUnderWay = true;
  }

  /** Does nothing when none is under way. */
  over(): void {
    if (!this.#isUnderWay) return;
    this.#isUnderWay = false;
    this.#any = true;
    const { over } = this.#under;
    this.#under = pending();
    over();
  }

  /** There will be none any more. */
  end(): void {
    this.#under.over();
  }
}

function pending(): { readonly promise: Promise<void>; readonly over: () => void } {
  let over: () => void = () => undefined;
  const promise = new Promise<void>((resolve) => {
    over = resolve;
  });
  return { promise, over };
}
