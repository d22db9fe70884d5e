/**
 * One attack, run twice: where the defence is off it must succeed (the positive control: the attack is real on this kernel), and in a
 * sandbox it must get what the threat model promises.
 *
 * Each is written down for the security report (docs/security-report.md) when `SECURITY_RECORD` names a file.
 */

import { AssertionError } from "node:assert/strict";
import { appendFile } from "node:fs/promises";

/** What an attack came to, in a few words: an errno name, `ok`, a status. */
type Outcome = () => string | Promise<string>;

export interface Attack {
  readonly name: string;
  /** What stops it: a layer's id (src/sandbox/layers.ts) or a few words. */
  readonly layer: string;
  /** The attack with the defence off and the outcome that shows it working, or why this kernel cannot show it. */
  readonly without: { readonly run: Outcome; readonly shows: string | RegExp } | { readonly cannotShow: string };
  /** The attack from a sandbox, and the outcome that must come of it. */
  readonly within: { readonly run: Outcome; readonly gives: string | RegExp };
  /** Another way to what one of the others does, stopped by the same layer: only for the security report, since it takes seconds. */
  readonly variation?: boolean;
}

/** One line of the record. */
export interface AttackRecord {
  readonly area: string;
  readonly attack: string;
  readonly layer: string;
  readonly without: string;
  readonly expected: string;
  readonly within: string;
  readonly passed: boolean;
}

/** Whether this run has the attack: one for the security report has all. */
export const isTried = ({ variation = false }: Pick<Attack, "variation">): boolean =>
  !variation || process.env["SECURITY_RECORD"] !== undefined;

const MAX_RECORDED_CHARS = 160;

function insist(where: string, outcome: string, expected: string | RegExp): void {
  if (typeof expected === "string" ? outcome === expected : expected.test(outcome)) return;
  throw new AssertionError({ message: `${where}, the attack came to ${outcome}; it should have come to ${String(expected)}` });
}

type Control = Exclude<Attack["without"], { readonly cannotShow: string }>;

/** Many attacks may share one control, which is run once for them. */
const controls = new WeakMap<Control, Promise<string>>();

function runControl(control: Control): Promise<string> {
  const known = controls.get(control);
  if (known !== undefined) return known;
  const running = (async () => control.run())();
  controls.set(control, running);
  return running;
}

/** Declares the test of an attack, where this run has it. */
export function attack({ layer, name, variation = false, within, without }: Attack): void {
  if (!isTried({ variation })) return;
  it(name, async function () {
    let control = "not run";
    let outcome = "not run";
    let passed = false;
    try {
      if ("cannotShow" in without) control = `cannot be shown: ${without.cannotShow}`;
      else {
        control = await runControl(without);
        insist("with the defence off", control, without.shows);
      }
      outcome = await within.run();
      insist("in a sandbox", outcome, within.gives);
      passed = true;
    } finally {
      const area = this.test?.parent?.title ?? "";
      await recordAttack({ area, attack: name, layer, without: control, expected: String(within.gives), within: outcome, passed });
    }
  });
}

/** Writes an attack down for the security report. For tests that {@link attack} does not fit. */
export async function recordAttack(record: AttackRecord): Promise<void> {
  const file = process.env["SECURITY_RECORD"];
  if (file === undefined) return;
  const short = (text: string): string => (text.length > MAX_RECORDED_CHARS ? `${text.slice(0, MAX_RECORDED_CHARS)} ...` : text);
  await appendFile(file, `${JSON.stringify({ ...record, without: short(record.without), within: short(record.within) })}\n`);
}
