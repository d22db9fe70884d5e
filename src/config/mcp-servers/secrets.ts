/** Which values of config/mcp-servers.json are secrets, so that they can be kept out of logs and messages. Rather one too many. */

const SECRET_NAME = /key|token|secret|passw|pwd|auth|cred|jwt|bearer|cookie|session|private|signature|custom_?headers/i;
/** What comes before a credential in a header. */
const SCHEME = /^(?:Bearer|Basic|Token|ApiKey)\s+/i;
/** Whatever is shorter is found in every text. */
const MIN_CHARS = 4;
const COMMON = /^(?:true|false|null|none|yes|no|\d{1,5})$/i;

/** Whether a variable, a header or an option of this name holds a secret. */
export const isSecretName = (name: string): boolean => SECRET_NAME.test(name);

/** The secrets of one server. */
export class SecretCollection {
  readonly #found = new Set<string>();

  get all(): readonly string[] {
    return [...this.#found];
  }

  /** Takes a value that is one, unless it is a word that says nothing; and the credential in it, which a server may repeat alone. */
  add(value: string): void {
    for (const secret of new Set([value, value.replace(SCHEME, "")].map((text) => text.trim()))) {
      if (secret.length >= MIN_CHARS && !COMMON.test(secret) && !isPlainAddress(secret)) this.#found.add(secret);
    }
  }

  /** Takes the values of options such as `--token=…` and `--token …`. */
  addFromArguments(args: readonly string[]): void {
    for (const [index, arg] of args.entries()) {
      const [, name = "", value] = /^--?([A-Za-z0-9_.-]+)(?:=(.*))?$/s.exec(arg) ?? [];
      if (!isSecretName(name)) continue;
      const secret = value ?? args[index + 1];
      if (secret !== undefined) this.add(secret);
    }
  }

  /** Takes what an address holds of credentials. */
  addFromUrl({ password, searchParams, username }: URL): void {
    for (const part of [username, password]) this.add(decoded(part));
    for (const [name, value] of searchParams) if (isSecretName(name)) this.add(value);
  }
}

/** An address without credentials is what messages are about: they should name it. */
function isPlainAddress(text: string): boolean {
  if (!/^https?:/i.test(text) || !URL.canParse(text)) return false;
  const { password, search, username } = new URL(text);
  return `${username}${password}${search}` === "";
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
