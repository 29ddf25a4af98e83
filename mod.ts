/**
 * Turns a read-only image tree into a writable root filesystem with the Linux kernel's overlayfs: makes
 * the directories the mount needs, gives each exactly the mode, owner, group and SELinux label it must
 * have, mounts, and takes the mount away again.
 *
 * @example Render an app, write into it, and see the tree unchanged
 * ```ts
 * import { assert } from "@std/assert";
 * import { renderOverlay } from "@overlay/render";
 *
 * const dir = await Deno.makeTempDir();
 * await Deno.mkdir(`${dir}/image`);
 * await Deno.writeTextFile(`${dir}/image/hello`, "from the tree");
 * {
 *   await using app = await renderOverlay({
 *     lower: `${dir}/image`,
 *     pod: `${dir}/pod`,
 *     app: "web",
 *     options: ["userxattr"], // works without root too, in a user namespace
 *   });
 *   await Deno.writeTextFile(`${app.rootfs}/hello`, "from the app");
 * } // unmounted here; what the app wrote is kept in its upper
 * assert(await Deno.readTextFile(`${dir}/image/hello`) === "from the tree");
 *
 * await Deno.remove(dir, { recursive: true });
 * ```
 *
 * Path layout, plans and permissions are pure and require no permissions. What touches the disk checks
 * its Deno permissions first, and says which are missing.
 *
 * @module
 */
export { appLayout, podLayout, treeLayout } from "./lib/layout.ts";
export type { AppLayout, AppLayoutOptions, PodLayout, TreeLayout } from "./lib/layout.ts";
export type { AppLine } from "./lib/app_line.ts";
export { mountOptions, parseMountOptions } from "./lib/mount_config.ts";
export type { MountConfig } from "./lib/mount_config.ts";
export { formatMountLabel } from "./lib/mount_label.ts";
export { dropSetgid, makeDirectory, setGroup } from "./lib/directory.ts";
export { setLabel } from "./lib/label.ts";
export { planRender } from "./lib/plan.ts";
export { planPod } from "./lib/pod_plan.ts";
export type { MountPlan, Plan, PlanOptions, PodPlan } from "./lib/plan.ts";
export type {
  CopyOperation,
  DirectoryOperation,
  GroupOperation,
  LabelOperation,
  LikeMode,
  LinkOperation,
  LockOperation,
  ManifestOperation,
  MountOperation,
  MtabOperation,
  Operation,
  RealOperation,
  RecordOperation,
  RequireOperation,
  TouchOperation,
  TrustOperation,
  UseOperation,
} from "./lib/operation.ts";
export type { ProfileName } from "./lib/profile.ts";
export type { LayoutName, OverlayMode } from "./lib/names.ts";
export { permissionFlags, requiredPermissions } from "./lib/permissions.ts";
export type { ProgramOptions } from "./lib/run.ts";
export type { RequiredPermissions } from "./lib/permissions.ts";
export type { RenderRequest, StoredTree } from "./lib/request.ts";
export type { PodApp, PodRequest } from "./lib/pod_request.ts";
export type { ChangeOptions, Reporter } from "./lib/change_options.ts";
export { prepareOverlay, renderOverlay } from "./lib/render.ts";
export type { Render, RenderedOverlay } from "./lib/render.ts";
export { preparePod, renderPod } from "./lib/render_pod.ts";
export type { PodRender, RenderedPod } from "./lib/render_pod.ts";
export { unmountOverlay, unmountPermissions } from "./lib/unmount.ts";
export type { Unmounted, UnmountRequest } from "./lib/unmount.ts";
export { overlayStatus, statusPermissions } from "./lib/status.ts";
export type { Drift, OverlayStatus, StatusOptions, StatusRequest } from "./lib/status.ts";
export type { DiskUse } from "./lib/disk_use.ts";
export type { PodsRequest } from "./lib/pods.ts";
export { collectPermissions, collectPods } from "./lib/gc.ts";
export type { Collected, CollectRequest, Kept } from "./lib/gc.ts";
export { undoCollect } from "./lib/garbage.ts";
export type { Undone } from "./lib/garbage.ts";
export { keepPod, unkeepPod } from "./lib/keep.ts";
export type { KeptPod } from "./lib/keep.ts";
export { diagnose } from "./lib/doctor.ts";
export type { Check, Diagnosis, DoctorRequest } from "./lib/doctor.ts";
export { restoreOverlays, restorePermissions } from "./lib/restore.ts";
export type { NotRestored, Restored, RestoreRequest } from "./lib/restore.ts";
export {
  InterruptedError,
  InvalidValueError,
  MissingPermissionError,
  MountError,
  OverlayError,
  PodError,
  RefusedError,
  UnmountError,
} from "./lib/errors.ts";
export type {
  AppFailureJson,
  ErrorCode,
  ErrorJson,
  OverlayErrorOptions,
  ProgramFailure,
} from "./lib/errors.ts";
