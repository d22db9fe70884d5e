/** What somebody typed makes no sense; the message says what would. The process exits with 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
