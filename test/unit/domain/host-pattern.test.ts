import assert from "node:assert/strict";

import { checkHostPattern } from "../../../src/domain/host-pattern.ts";

describe("host-pattern: an entry of allowedHosts", () => {
  for (const [text, host] of [
    ["example.com", "example.com"],
    ["Example.COM.", "example.com"],
    ["*.Example.com", "*.example.com"],
    ["localhost", "localhost"],
    ["_dns.example.com", "_dns.example.com"],
    ["xn--bcher-kva.example", "xn--bcher-kva.example"],
    ["1password.com", "1password.com"],
    ["127.0.0.1", "127.0.0.1"],
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["0.0.0.0/00", "0.0.0.0/0"],
    ["::1", "::1"],
    ["0:0:0:0:0:0:0:1", "::1"],
    ["2001:DB8::/32", "2001:db8::/32"],
    ["::ffff:10.0.0.1", "::ffff:a00:1"],
  ] as const) {
    it(`takes ${text} as ${host}`, () => {
      assert.deepEqual(checkHostPattern(text), { ok: true, host });
    });
  }

  for (const [text, problem] of [
    ["", /no host name/],
    ["*", /no host name/],
    ["a.*.com", /no host name/],
    ["*.*.com", /no host name/],
    ["*example.com", /no host name/],
    ["evil.com/.example.com", /path/],
    ["evil.com\u0000.example.com", /no host name/],
    ["user@example.com", /no host name/],
    ["example..com", /no host name/],
    ["-a.com", /no host name/],
    [`${"a".repeat(64)}.com`, /no host name/],
    [`${"a.".repeat(127)}com`, /no host name/],
    ["https://example.com", /scheme/],
    ["example.com:443", /port/],
    ["[::1]", /brackets/],
    ["bücher.example", /xn--/],
    ["127.1", /IPv4/],
    ["0x7f.0.0.1", /IPv4/],
    ["0177.0.0.1", /IPv4/],
    ["2130706433", /IPv4/],
    ["0x7f000001", /IPv4/],
    ["256.0.0.1", /IPv4/],
    ["10.0.0.0/33", /CIDR/],
    ["10.0.0.0/-1", /CIDR/],
    ["10.0.0.0/8/8", /CIDR/],
    ["::/129", /CIDR/],
    ["fe80::1%eth0", /zone/],
  ] as const) {
    it(`refuses ${JSON.stringify(text)}`, () => {
      const check = checkHostPattern(text);
      assert.ok(!check.ok);
      assert.match(check.problem, problem);
    });
  }
});
