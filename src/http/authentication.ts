/** Who asks: API keys, and what each may do. */

import { timingSafeEqual } from "node:crypto";

import type { Request, RequestHandler, Response } from "express";

import type { AuditSink } from "../domain/audit-event.ts";
import { ANONYMOUS, hashKey, SCOPES } from "../domain/caller.ts";
import type { ApiKey, Caller, Scope } from "../domain/caller.ts";
import { AppError } from "../domain/errors.ts";

/** A caller with what it may do; its name is the "who" of logs. */
export interface Principal extends Caller {
  readonly scopes: ReadonlySet<Scope>;
}

const STRANGERS_EVERY_MS = 60_000;

/** Whoever reaches a service without keys, which listens on loopback only. */
const ANYBODY: Principal = { name: ANONYMOUS, scopes: new Set(SCOPES) };

interface KnownKey {
  readonly hash: Buffer;
  readonly principal: Principal;
}

export class Authenticator {
  /** `undefined` in a service without keys. An empty list lets nobody in. */
  #keys: readonly KnownKey[] | undefined;

  constructor(keys: readonly ApiKey[] | undefined) {
    if (keys !== undefined) this.replace(keys);
  }

  /** Takes these keys in place of the ones before, from the next request on. There is no way back to a service without keys. */
  replace(keys: readonly ApiKey[]): void {
    this.#keys = keys.map(({ sha256, scopes, ...granted }) => ({
      hash: Buffer.from(sha256, "hex"),
      principal: { ...granted, scopes: new Set(scopes) },
    }));
  }

  /**
   * The principal of an `Authorization` header, or `undefined` for none or a wrong one.
   *
   * Every key is compared, in constant time, so that the answer's time tells nothing about any of them.
   */
  identify(authorization: string | undefined): Principal | undefined {
    if (this.#keys === undefined) return ANYBODY;
    const given = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? "")?.[1];
    if (given === undefined) return undefined;
    const hash = Buffer.from(hashKey(given), "hex");
    let found: Principal | undefined;
    for (const key of this.#keys) {
      if (timingSafeEqual(key.hash, hash)) found = key.principal;
    }
    return found;
  }
}

/** Who asks; {@link requireKey} has found out. */
export const principalOf = (response: Response): Principal => response.locals["principal"] as Principal;

/** Lets requests with a key through; the handlers find whose it is in `response.locals.principal`. */
export function requireKey(authenticator: Authenticator, audit: AuditSink): RequestHandler {
  const strangers = new StrangerLog();
  return (request, response, next) => {
    const principal = authenticator.identify(request.headers.authorization);
    if (principal === undefined) {
      strangers.note(request);
      audit.record({ type: "authentication.failed", address: request.socket.remoteAddress, count: 1 });
      response.set("WWW-Authenticate", "Bearer");
      throw new AppError({
        code: "UNAUTHENTICATED",
        message: 'A key is needed: send "Authorization: Bearer <key>" with one that this service knows.',
      });
    }
    response.locals["principal"] = principal;
    next();
  };
}

/** Lets requests through whose key has one of the scopes. {@link requireKey} must come before. */
export function requireScope(...scopes: readonly Scope[]): RequestHandler {
  return (_request, response, next) => {
    const principal = principalOf(response);
    if (!scopes.some((scope) => principal.scopes.has(scope))) {
      const needed = scopes.map((scope) => `"${scope}"`).join(" or ");
      throw new AppError({ code: "FORBIDDEN", message: `The key "${principal.name}" lacks the scope ${needed}.` });
    }
    next();
  };
}

/** Strangers can come often: they are counted, and told of in a line at times. */
class StrangerLog {
  #count = 0;
  #lastAt = -Infinity;

  note({ log, socket }: Request): void {
    this.#count += 1;
    const now = performance.now();
    if (now - this.#lastAt < STRANGERS_EVERY_MS) return;
    log.warn({ refused: this.#count, last: socket.remoteAddress }, `refused for want of a key: ${this.#count} since this was last said`);
    this.#count = 0;
    this.#lastAt = now;
  }
}
