/** Items in an order that may change: the first is known at once, a change costs the logarithm of their number. A binary heap. */
export class Ranking<T> {
  readonly #isBefore: (a: T, b: T) => boolean;
  readonly #heap: T[] = [];
  readonly #places = new Map<T, number>();

  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get first(): T | undefined {
    return this.#heap[0];
  }

  /** Puts an item in its place: a new one, or one whose rank has changed. */
  place(item: T): void {
    const known = this.#places.get(item);
    if (known === undefined) this.#heap.push(item);
    this.#sift(item, known ?? this.#heap.length - 1);
  }

  /** Takes an item out, if it is there. */
  remove(item: T): void {
    const place = this.#places.get(item);
    if (place === undefined) return;
    this.#places.delete(item);
    const last = this.#heap.pop() as T;
    if (last !== item) this.#sift(last, place);
  }

  /** Moves an item from a place that is free for it to the one that is right for it. */
  #sift(item: T, from: number): void {
    const heap = this.#heap;
    let place = from;
    while (place > 0) {
      const above = (place - 1) >> 1;
      const parent = heap[above] as T;
      if (!this.#isBefore(item, parent)) break;
      this.#put(parent, place);
      place = above;
    }
    for (;;) {
      let below = 2 * place + 1;
      if (below >= heap.length) break;
      if (below + 1 < heap.length && this.#isBefore(heap[below + 1] as T, heap[below] as T)) below += 1;
      const child = heap[below] as T;
      if (!this.#isBefore(child, item)) break;
      this.#put(child, place);
      place = below;
    }
    this.#put(item, place);
  }

  #put(item: T, place: number): void {
    this.#heap[place] = item;
    this.#places.set(item, place);
  }
}
