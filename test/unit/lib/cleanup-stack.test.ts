import assert from "node:assert/strict";

import { CleanupStack } from "../../../src/lib/cleanup-stack.ts";

const fixture = (): { stack: CleanupStack; ran: string[]; errors: string[] } => {
  const ran: string[] = [];
  const errors: string[] = [];
  const stack = new CleanupStack({ onError: (step, error) => errors.push(`${step}: ${(error as Error).message}`) });
  return { stack, ran, errors };
};

describe("cleanup-stack: releases", () => {
  it("run last in, first out, one after the other", async () => {
    const { ran, stack } = fixture();
    for (const name of ["a", "b", "c"]) {
      stack.defer(name, async () => {
        ran.push(`${name} begins`);
        await new Promise((resolve) => setImmediate(resolve));
        ran.push(`${name} ends`);
      });
    }
    await stack.close();
    assert.deepEqual(ran, ["c begins", "c ends", "b begins", "b ends", "a begins", "a ends"]);
  });

  it("all run though some fail, and the failures are reported, never thrown", async () => {
    const { errors, ran, stack } = fixture();
    stack.defer("first", () => ran.push("first"));
    stack.defer("sync", () => {
      throw new Error("thrown");
    });
    stack.defer("async", () => Promise.reject(new Error("rejected")));
    stack.defer("last", () => ran.push("last"));
    await stack.close();
    assert.deepEqual(ran, ["last", "first"]);
    assert.deepEqual(errors, ["async: rejected", "sync: thrown"]);
  });

  it("run once, however often and from however many places it is closed", async () => {
    const { ran, stack } = fixture();
    stack.defer("a", async () => {
      await new Promise((resolve) => setImmediate(resolve));
      ran.push("a");
    });
    await Promise.all([stack.close(), stack.close()]);
    await stack.close();
    assert.deepEqual(ran, ["a"]);
  });

  it("that come too late still run, and a later close waits for them", async () => {
    const { errors, ran, stack } = fixture();
    stack.defer("early", () => ran.push("early"));
    await stack.close();
    stack.defer("late", async () => {
      await new Promise((resolve) => setImmediate(resolve));
      ran.push("late");
    });
    stack.defer("late and bad", () => {
      throw new Error("bad");
    });
    await stack.close();
    assert.deepEqual(ran, ["early", "late"]);
    assert.deepEqual(errors, ["late and bad: bad"]);
  });

  it("that come while it closes run too", async () => {
    const { ran, stack } = fixture();
    stack.defer("outer", () => {
      ran.push("outer");
      stack.defer("inner", () => ran.push("inner"));
    });
    const closing = stack.close();
    stack.defer("meanwhile", () => ran.push("meanwhile"));
    await closing;
    await stack.close();
    assert.deepEqual([...ran].sort(), ["inner", "meanwhile", "outer"]);
  });
});
