/**
 * Takes away `process.execve`, with which a program could replace its process by another one without starting any.
 *
 * What could be executed is little: the runtime itself, and the C library's loader. But the loader can be made to run instructions that
 * a program brought along as data, where `noexec` mounts do not look. This is the only way to it from JavaScript; native code could
 * still make the system call, so this keeps native code out and is no boundary against it.
 */

import process from "node:process";

export function forbidReplacement(): void {
  const execve = (): never => {
    throw Object.assign(new Error("process.execve is not available in a sandbox"), { code: "EPERM", errno: -1, syscall: "execve" });
  };
  Object.defineProperty(process, "execve", { value: execve, writable: false, configurable: false, enumerable: true });
}
