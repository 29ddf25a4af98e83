/**
 * The error of a call in which several apps failed; it names each app and the cause.
 *
 * @module
 */
import { OverlayError, PodError, RefusedError } from "./errors.ts";
import { embed } from "./invalid.ts";
import { appWords } from "./quote.ts";

/** One app that failed. */
export interface AppFailure {
  /** The app's name. */
  readonly app: string;
  /** The error that the app failed with. */
  readonly error: OverlayError;
}

interface Named {
  readonly line: { readonly app: string };
}

/**
 * Calls a function for each app, and continues after one that fails.
 *
 * @throws {PodError} If any app failed. If there is only one app, its own error is thrown.
 */
export function forEachApp<T extends Named>(apps: readonly T[], act: (app: T) => void): void {
  const failures: AppFailure[] = [];
  for (const app of apps) {
    try {
      act(app);
    } catch (error) {
      if (!(error instanceof OverlayError) || apps.length === 1) throw error;
      failures.push({ app: app.line.app, error });
    }
  }
  if (failures.length > 0) throw podError("render", failures);
}

/** The error of several apps. */
export function podError(verb: string, failures: readonly AppFailure[]): PodError {
  const reasons = failures.map(({ app, error }) => {
    return `${appWords(app)} (${embed(error)})`;
  });
  const [first] = failures;
  const { path = null, hint = null, code = "failed" } = first?.error ?? {};
  return new PodError(code, `Cannot ${verb} ${reasons.join(" and ")}`, {
    path,
    hint,
    cause: first?.error,
    refused: failures.every(({ error }) => error instanceof RefusedError),
    failures: failures.map(({ app, error }) => ({ app, ...error.toJSON() })),
  });
}
