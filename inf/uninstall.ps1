<#
.SYNOPSIS
    Removes the LBFO Teaming Extension from this computer.

.DESCRIPTION
    Disables the extension on every switch that has it enabled (the switch then forwards by itself), saves the
    tuned settings to a file, removes the network filter and its service, and takes the package out of the
    driver store. For each step that was taken the command that undoes it is printed, also when a later step
    fails; install.ps1, which brings the filter back, brings the package back too. What is not there is passed
    over, so that the script can be run again.

.PARAMETER SettingsFile
    Where the settings are saved; by default below %ProgramData%\lbfoext.

.EXAMPLE
    .\uninstall.ps1 -WhatIf

.NOTES
    Exit codes: 0 done, 1 failed, 3010 done after the next restart of the computer.
    With -WhatIf the steps are named; nothing is changed.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $SettingsFile = (Join-Path $env:ProgramData ('lbfoext\parameters-{0:yyyyMMdd-HHmmss}.reg' -f (Get-Date)))
)

Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'

$ComponentId = 'lbfo_lbfoext'
$ServiceName = 'lbfoext'
$ExtensionName = 'LBFO Teaming Extension'
$RestartNeeded = 0x0004A020, 3010       # NETCFG_S_REBOOT, ERROR_SUCCESS_REBOOT_REQUIRED

$Undo = [System.Collections.Generic.Stack[string]]::new()
$ExitCode = 0

# Runs a program of the system and ends the script if it fails.
function Invoke-Tool([string] $Tool, [string[]] $Arguments) {
    & $Tool @Arguments | Out-Host
    if ($RestartNeeded -contains $LASTEXITCODE) {
        $script:ExitCode = 3010
    } elseif ($LASTEXITCODE -ne 0) {
        throw ('{0} failed with 0x{1:X8}.' -f $Tool, $LASTEXITCODE)
    }
}

function Disable-Extension {
    if (-not (Get-Command Get-VMSwitch -ErrorAction SilentlyContinue)) { return }
    foreach ($switch in Get-VMSwitch) {
        $extension = $switch | Get-VMSwitchExtension | Where-Object { $_.Name -eq $ExtensionName -and $_.Enabled }
        if ($extension -and $PSCmdlet.ShouldProcess("switch '$($switch.Name)'", "Disable '$ExtensionName'")) {
            $extension | Disable-VMSwitchExtension | Out-Null
            $Undo.Push("Enable-VMSwitchExtension -VMSwitchName '$($switch.Name)' -Name '$ExtensionName'")
        }
    }
}

function Save-Settings {
    $key = "HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\$ServiceName\Parameters"
    if (-not (Test-Path -LiteralPath "Registry::$key")) { return }
    if (-not $PSCmdlet.ShouldProcess($key, "Save the settings to $SettingsFile")) { return }
    New-Item -ItemType Directory -Path (Split-Path -Parent $SettingsFile) -Force | Out-Null
    Invoke-Tool 'reg.exe' @('export', $key, $SettingsFile, '/y')
    $Undo.Push("reg.exe import `"$SettingsFile`"")
}

function Uninstall-Filter {
    if (-not (Get-CimInstance Win32_SystemDriver -Filter "Name='$ServiceName'")) { return }
    if (-not $PSCmdlet.ShouldProcess($ComponentId, 'Remove the network filter')) { return }
    Invoke-Tool 'netcfg.exe' @('-v', '-u', $ComponentId)
    $Undo.Push((Join-Path $PSScriptRoot 'install.ps1'))
}

function Remove-Package {
    $packages = Get-WindowsDriver -Online | Where-Object { (Split-Path -Leaf $_.OriginalFileName) -eq 'lbfoext.inf' }
    foreach ($package in $packages) {
        if ($PSCmdlet.ShouldProcess($package.Driver, 'Delete the package from the driver store')) {
            Invoke-Tool 'pnputil.exe' @('/delete-driver', $package.Driver)
        }
    }
}

try {
    Disable-Extension
    Save-Settings
    Uninstall-Filter
    Remove-Package
    if ($ExitCode -eq 3010) { Write-Warning 'Restart the computer to finish.' }
} catch {
    [Console]::Error.WriteLine("uninstall.ps1: $_")
    $ExitCode = 1
}

if ($Undo.Count -gt 0) {
    Write-Host 'To undo, in this order:'
    $Undo | ForEach-Object { Write-Host "    $_" }
}
exit $ExitCode
