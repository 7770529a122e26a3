// SPDX-License-Identifier: Apache-2.0
/** Tells webpack where the workers' files are: beside this module, wherever Grafana serves plugins from. */
import amdModule from 'amd-module';

declare let __webpack_public_path__: string;

const uri = amdModule?.uri;
__webpack_public_path__ = uri ? uri.slice(0, uri.lastIndexOf('/') + 1) : 'public/plugins/firesteel-topology-panel/';
