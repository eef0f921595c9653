<#
.SYNOPSIS
    Installs the LBFO Teaming Extension and, on request, enables it on one switch.

.DESCRIPTION
    Adds the driver package to the driver store, installs the network filter and, if a switch is named, enables
    the extension there. Without a switch nothing changes on the data path: an installed extension is disabled on
    every switch. Only one forwarding extension can be enabled on a switch; another one there stops the script.
    For each step that was taken the command that undoes it is printed, also when a later step fails.

.PARAMETER SwitchName
    The switch to enable the extension on. Its traffic pauses for a moment.

.PARAMETER PackagePath
    The folder of lbfoext.inf, lbfoext.sys and lbfoext.cat; by default the folder of this script.

.EXAMPLE
    .\install.ps1 -SwitchName External -WhatIf

.NOTES
    Exit codes: 0 done, 1 failed or refused, 3010 to be run again after the next restart of the computer.
    With -WhatIf the conditions are checked and the steps are named; nothing is changed.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $SwitchName,
    [string] $PackagePath = $PSScriptRoot
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$ComponentId = 'lbfo_lbfoext'
$ServiceName = 'lbfoext'
$ExtensionName = 'LBFO Teaming Extension'
$Package = 'lbfoext.inf', 'lbfoext.sys', 'lbfoext.cat'
$FirstBuild = 19041                     # the first that exports what the driver imports
$RestartNeeded = 0x0004A020, 3010       # NETCFG_S_REBOOT, ERROR_SUCCESS_REBOOT_REQUIRED

$Undo = [System.Collections.Generic.Stack[string]]::new()
$ExitCode = 0

function Assert-Host {
    $build = [Environment]::OSVersion.Version.Build
    if ($build -lt $FirstBuild) {
        throw "Windows build $build is too old; Windows Server 2022 or later is needed."
    }
    foreach ($file in $Package) {
        if (-not (Test-Path -LiteralPath (Join-Path $PackagePath $file) -PathType Leaf)) {
            throw "$file is not in $PackagePath."
        }
    }
    $signature = Get-AuthenticodeSignature -LiteralPath (Join-Path $PackagePath 'lbfoext.cat')
    if ($signature.Status -ne 'Valid') {
        throw "The signature of lbfoext.cat is not trusted here ($($signature.Status)): see 'Test signing' in the README."
    }
}

function Assert-Switch {
    $other = Get-VMSwitchExtension -VMSwitchName $SwitchName |
        Where-Object { $_.ExtensionType -eq 'Forwarding' -and $_.Enabled -and $_.Name -ne $ExtensionName }
    if ($other) {
        throw "'$($other.Name)' is enabled on switch '$SwitchName', and a switch has one forwarding extension. " +
            "First: Disable-VMSwitchExtension -VMSwitchName '$SwitchName' -Name '$($other.Name)'"
    }
}

function Install-Filter {
    if (Get-CimInstance Win32_SystemDriver -Filter "Name='$ServiceName'") {
        Write-Host 'The extension is installed already. To update it, run uninstall.ps1 first.'
        return
    }
    $inf = (Resolve-Path -LiteralPath (Join-Path $PackagePath 'lbfoext.inf')).ProviderPath
    if (-not $PSCmdlet.ShouldProcess($inf, 'Install the network filter')) { return }
    & netcfg.exe -v -l $inf -c s -i $ComponentId | Out-Host
    if ($RestartNeeded -contains $LASTEXITCODE) {
        $script:ExitCode = 3010
    } elseif ($LASTEXITCODE -ne 0) {
        throw ('netcfg.exe failed with 0x{0:X8}; see %windir%\INF\setupapi.dev.log.' -f $LASTEXITCODE)
    }
    $Undo.Push((Join-Path $PSScriptRoot 'uninstall.ps1'))
}

function Enable-Extension {
    if (-not $PSCmdlet.ShouldProcess("switch '$SwitchName'", "Enable '$ExtensionName'")) { return }
    Enable-VMSwitchExtension -VMSwitchName $SwitchName -Name $ExtensionName | Out-Null
    $Undo.Push("Disable-VMSwitchExtension -VMSwitchName '$SwitchName' -Name '$ExtensionName'")

    $extension = Get-VMSwitchExtension -VMSwitchName $SwitchName -Name $ExtensionName
    $extension | Format-List -Property 'Name', 'Vendor', 'Version', 'ExtensionType', 'SwitchName', 'Enabled', 'Running' | Out-Host
    if (-not ($extension.Enabled -and $extension.Running)) {
        throw "The extension does not run on switch '$SwitchName'; see the system event log."
    }
}

try {
    Assert-Host
    if ($SwitchName) { Assert-Switch }
    Install-Filter
    if ($SwitchName -and $ExitCode -eq 0) { Enable-Extension }
    if ($ExitCode -eq 3010) {
        Write-Warning 'Restart the computer, then run this script again with the same arguments.'
    }
} catch {
    [Console]::Error.WriteLine("install.ps1: $_")
    $ExitCode = 1
}

if ($Undo.Count -gt 0) {
    Write-Host 'To undo:'
    $Undo | ForEach-Object { Write-Host "    $_" }
}
exit $ExitCode
