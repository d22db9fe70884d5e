/**
 * A queue out of which an entry can leave at any place, all in constant time.
 *
 * A `Set` would do the same with less code, but taking the first of many out of one passes over the places of all that were taken before.
 */

export interface FifoEntry<T> {
  readonly value: T;
}

interface Node<T> extends FifoEntry<T> {
  previous: Node<T> | undefined;
  next: Node<T> | undefined;
  queued: boolean;
}

export class Fifo<T> {
  #first: Node<T> | undefined;
  #last: Node<T> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Puts a value at the end; what comes back is for {@link remove}. */
  push(value: T): FifoEntry<T> {
    const node: Node<T> = { value, previous: this.#last, next: undefined, queued: true };
    if (this.#last === undefined) this.#first = node;
    else this.#last.next = node;
    this.#last = node;
    this.#size += 1;
    return node;
  }

  /** Takes the oldest out. */
  shift(): T | undefined {
    const node = this.#first;
    if (node === undefined) return undefined;
    this.#unlink(node);
    return node.value;
  }

  /** Takes an entry of this queue out; one that has left already is left alone. */
  remove(entry: FifoEntry<T>): void {
    this.#unlink(entry as Node<T>);
  }

  #unlink(node: Node<T>): void {
    if (!node.queued) return;
    node.queued = false;
    if (node.previous === undefined) this.#first = node.next;
    else node.previous.next = node.next;
    if (node.next === undefined) this.#last = node.previous;
    else node.next.previous = node.previous;
    this.#size -= 1;
  }
}
