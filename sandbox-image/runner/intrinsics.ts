/**
 * Built-ins as they were before the program ran.
 *
 * What the runner does after that goes through these, so that a program that patches globals, mocks `fs` or stubs the clock still
 * gets its result out. It is a courtesy, not a defence: the program owns the process and can always harm its own result.
 */

import { Buffer } from "node:buffer";
import fs from "node:fs";
import process from "node:process";
import util from "node:util";

export { Buffer };

export const {
  closeSync,
  constants: fsConstants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  writeSync,
} = fs;

export const { inspect, types } = util;

export const parseJson: (text: string) => unknown = JSON.parse;
export const stringifyJson: (value: unknown) => string = JSON.stringify;

export const { apply, defineProperty, get: getProperty, getOwnPropertyDescriptor, getPrototypeOf, ownKeys: ownPropertyKeys } = Reflect;
export const { isArray } = Array;
export const { keys: ownKeys } = Object;
export const { isFinite: isFiniteNumber } = Number;
export const byteLength = Buffer.byteLength.bind(Buffer);
export const ErrorClass = Error;
export const EvalErrorClass = EvalError;
export const ObjectPrototype = Object.prototype;

/* eslint-disable @typescript-eslint/unbound-method -- methods to be used with apply */
export const functionToString = Function.prototype.toString;
export const forEachOfMap = Map.prototype.forEach;
export const forEachOfSet = Set.prototype.forEach;
export const promiseThen = Promise.prototype.then;
/* eslint-enable @typescript-eslint/unbound-method */

export const captureStackTrace = Error.captureStackTrace.bind(Error);
export const PromiseClass = Promise;
export const queueTask: (task: () => void) => void = queueMicrotask;
export const setTimer: (task: () => void, delayMs: number) => unknown = setTimeout;

export const killProcess = process.kill.bind(process);

const { wait } = Atomics;
const neverNotified = new Int32Array(new SharedArrayBuffer(4));

/** Blocks the thread. */
export function sleep(ms: number): void {
  wait(neverNotified, 0, 0, ms);
}

/** Milliseconds that never go back. */
export const now: () => number = performance.now.bind(performance);
