// SPDX-License-Identifier: Apache-2.0
/** What an AMD loader tells a module of itself. */
declare module 'amd-module' {
  const module: { id?: string; uri?: string } | undefined;
  export default module;
}
