import assert from "node:assert/strict";

import fc from "fast-check";

import { Redactor } from "../../../src/mcp/redaction.ts";

describe("redaction: known secrets in what a server writes", () => {
  it("cuts every one out, with one mark where they overlap", () => {
    const redactor = new Redactor(["abcdef", "defghi", "ababab"]);
    assert.equal(redactor.redact("1 abcdefghi 2 abcdef3 4ababababab5"), "1 [redacted] 2 [redacted]3 4[redacted]5");
  });

  it("finds the forms in which programs print one", () => {
    const secret = 'p"ss w/rd+é&x=1';
    const redactor = new Redactor([secret]);
    for (const form of [
      secret,
      encodeURIComponent(secret),
      new URLSearchParams({ q: secret }).toString(),
      JSON.stringify({ secret }),
      ...["", "u", "us", "usr:"].map((before) => Buffer.from(`${before}${secret}!!`).toString("base64")),
      ...["", "u", "us", "usr:"].map((before) => Buffer.from(`${before}${secret}`).toString("base64url")),
    ]) {
      const redacted = redactor.redact(`<${form}>`);
      assert.ok(redacted.includes("[redacted]"), form);
      assert.ok(redacted.length < form.length + 12, redacted);
    }
  });

  it("finds the lines of one that has several", () => {
    const key = "-----BEGIN KEY-----\nMIIBVQIBADANBg\nkqhkiG9w0BAQ\n-----END KEY-----";
    assert.equal(new Redactor([key]).redact("at MIIBVQIBADANBg"), "at [redacted]");
  });

  it("leaves what is too short to be a secret, and words of settings, as they are", () => {
    const text = "abc is true, false, null";
    assert.equal(new Redactor(["abc", "", "true", "False", "null"]).redact(text), text);
  });

  it("goes through values, in keys too, and any key stays one", () => {
    const value: unknown = JSON.parse('{"a":["hunter22",1,null],"hunter22":{"__proto__":"hunter22"}}');
    assert.equal(
      JSON.stringify(new Redactor(["hunter22"]).redactValue(value)),
      '{"a":["[redacted]",1,null],"[redacted]":{"__proto__":"[redacted]"}}',
    );
  });

  it("leaves no secret in any text", () => {
    const letters = fc.string({ unit: fc.constantFrom("a", "b", "="), minLength: 4, maxLength: 8 });
    fc.assert(
      fc.property(
        fc.array(letters, { minLength: 1, maxLength: 4 }),
        fc.string({ unit: fc.constantFrom("a", "b", "=", "\n") }),
        (secrets, text) => {
          const redacted = new Redactor(secrets).redact(text);
          assert.ok(
            secrets.every((secret) => !redacted.split("[redacted]").some((rest) => rest.includes(secret))),
            redacted,
          );
        },
      ),
    );
  });
});
