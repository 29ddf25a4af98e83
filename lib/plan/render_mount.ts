/**
 * The mount of an app that is rendered.
 *
 * Requires no permissions.
 *
 * @module
 */
import { fittingOptions } from "../overlay/mount_config.ts";
import type { MountConfig, OptionString } from "../overlay/mount_config.ts";
import type { MountPlan } from "../overlay/app_line.ts";
import type { ParsedRequest } from "../request/request.ts";

/** An app whose mount is planned. */
export interface PlannedApp {
  /** The request of the app. */
  readonly request: ParsedRequest;
  /** The configuration of the mount. */
  readonly mount: MountPlan;
  /** The option string. */
  readonly options: OptionString;
}

/** Plans the mount of an app. */
export function planMount(request: ParsedRequest): PlannedApp {
  return { request, ...mountPlan(request) };
}

function mountPlan(request: ParsedRequest): { mount: MountPlan; options: OptionString } {
  const { layout } = request;
  const copy = request.overlay === "never";
  const readOnly = request.readOnly || copy;
  const { lower, real } = request;
  const config: MountConfig = {
    lower: real,
    upper: readOnly ? null : layout.upper,
    work: readOnly ? null : layout.work,
    label: request.label,
    options: request.options,
  };
  const options = copy ? NO_OPTIONS : fittingOptions(config, request.pod.pod);
  const mount: MountPlan = {
    ...config,
    lower,
    pod: request.pod.pod,
    app: request.app,
    tree: request.tree,
    dest: layout.dest,
    rootfs: layout.rootfs,
    optionString: options.text,
    ...(isSame(real, lower) ? {} : { real }),
    ...(copy ? { copy: true } : {}),
    ...(request.live ? { live: true } : {}),
    ...(request.ephemeral ? { ephemeral: true } : {}),
  };
  return { mount, options };
}

const NO_OPTIONS: OptionString = {
  text: "",
  relative: false,
  needsRealPaths: false,
  link: null,
};

function isSame(real: readonly string[], lower: readonly string[]): boolean {
  return real.every((path, at) => path === lower[at]);
}

/** Returns the configuration that is mounted and recorded, with the real paths of the lowers. */
export function toMountConfig({ real, ...mount }: MountPlan): MountConfig {
  return real === undefined ? mount : { ...mount, lower: real };
}
