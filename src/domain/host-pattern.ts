/**
 * Entries of `allowedHosts`: names, `*.names`, addresses and CIDR blocks, in one normal form each. Pure text: nothing is resolved here.
 */

import { isIPv4, isIPv6 } from "node:net";

export type HostCheck = { readonly ok: true; readonly host: string } | { readonly ok: false; readonly problem: string };

const MAX_NAME_CHARS = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
/** What some resolvers would read as an address: 127.1, 0x7f.1, 017700000001. */
const LIKE_A_NUMBER = /^(?:0x[0-9a-f]*|\d+)$/;

/**
 * Checks an entry and brings it to normal form: lower case, no dot at the end, IPv6 in its short form.
 *
 * Refused: what has a port, a scheme, a path or brackets, names beyond ASCII, short and octal forms of IPv4, and wildcards other than
 * one `*.` in front.
 */
export function checkHostPattern(text: string): HostCheck {
  const refuse = (problem: string): HostCheck => ({ ok: false, problem });
  const host = text.toLowerCase();
  if (/[[\]]/.test(host)) return refuse("has brackets; write an IPv6 address without them");
  if (host.includes("%")) return refuse("has a zone; an address of one interface cannot be allowed");
  if (host.includes("://")) return refuse("has a scheme; write the name alone");
  const [address = "", prefix, ...rest] = host.split("/");
  if (isIPv4(address) || isIPv6(address)) {
    const bits = isIPv4(address) ? 32 : 128;
    const normal = isIPv4(address) ? address : new URL(`http://[${address}]`).hostname.slice(1, -1);
    if (prefix === undefined) return { ok: true, host: normal };
    return rest.length === 0 && /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits
      ? { ok: true, host: `${normal}/${Number(prefix)}` }
      : refuse(`is no CIDR block; the number after the slash goes from 0 to ${bits}`);
  }
  if (prefix !== undefined) return refuse("has a path; write the name alone");
  if (/^[^:]+:\d+$/.test(host)) return refuse("has a port; ports go into allowedPorts");
  return checkName(host.replace(/\.$/, ""), refuse);
}

function checkName(name: string, refuse: (problem: string) => HostCheck): HostCheck {
  const labels = name.replace(/^\*\./, "").split(".");
  // eslint-disable-next-line no-control-regex -- ASCII is what a name on the wire may hold
  if (/[^\u0000-\u007f]/.test(name)) return refuse('is not ASCII; write an international name in its "xn--" form');
  if (name.length > MAX_NAME_CHARS || !labels.every((label) => LABEL.test(label)))
    return refuse('is no host name, "*." and a name, address or CIDR block');
  if (LIKE_A_NUMBER.test(labels.at(-1) ?? "")) return refuse("is no complete IPv4 address: four decimal numbers without leading zeros");
  return { ok: true, host: name };
}
