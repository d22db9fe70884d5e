/** Who asks: API keys, and what each may do. */

import { createHash, timingSafeEqual } from "node:crypto";

import type { RequestHandler } from "express";

import { ANONYMOUS, SCOPES } from "../domain/caller.ts";
import type { Caller, Scope } from "../domain/caller.ts";
import { AppError } from "../domain/errors.ts";

/** A caller with what it may do; its name is the "who" of logs. */
export interface Principal extends Caller {
  readonly scopes: ReadonlySet<Scope>;
}

export interface ApiKey {
  readonly name: string;
  readonly key: string;
  readonly scopes: readonly Scope[];
}

/** Whoever reaches a service without keys, which listens on loopback only. */
const ANYBODY: Principal = { name: ANONYMOUS, scopes: new Set(SCOPES) };

const sha256 = (text: string): Buffer => createHash("sha256").update(text).digest();

export class Authenticator {
  readonly #keys: readonly { readonly hash: Buffer; readonly principal: Principal }[];

  constructor(keys: readonly ApiKey[]) {
    this.#keys = keys.map(({ key, name, scopes }) => ({ hash: sha256(key), principal: { name, scopes: new Set(scopes) } }));
  }

  /**
   * The principal of an `Authorization` header, or `undefined` for none or a wrong one.
   *
   * Every key is compared, in constant time, so that the answer's time tells nothing about any of them.
   */
  identify(authorization: string | undefined): Principal | undefined {
    if (this.#keys.length === 0) return ANYBODY;
    const given = /^Bearer ([\x21-\x7e]{1,512})$/i.exec(authorization ?? "")?.[1];
    if (given === undefined) return undefined;
    const hash = sha256(given);
    let found: Principal | undefined;
    for (const key of this.#keys) {
      if (timingSafeEqual(key.hash, hash)) found = key.principal;
    }
    return found;
  }
}

/** Lets a request through whose key has the scope; the handler finds who it is in `response.locals.principal`. */
export function requireScope(authenticator: Authenticator, scope: Scope): RequestHandler {
  return (request, response, next) => {
    const principal = authenticator.identify(request.headers.authorization);
    if (principal === undefined) {
      response.set("WWW-Authenticate", "Bearer");
      throw new AppError({
        code: "UNAUTHENTICATED",
        message: 'A key is needed: send "Authorization: Bearer <key>" with one that this service knows.',
      });
    }
    if (!principal.scopes.has(scope)) {
      throw new AppError({ code: "FORBIDDEN", message: `The key "${principal.name}" lacks the scope "${scope}".` });
    }
    response.locals["principal"] = principal;
    next();
  };
}
