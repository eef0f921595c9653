<#
.SYNOPSIS
    Removes the LBFO Teaming Extension from this computer.

.DESCRIPTION
    Disables the extension on every switch that has it enabled (the switch then forwards by itself), saves the
    tuned settings to a file, removes the network filter and its service, and takes the package out of the
    driver store. With a team, removes the switch on it and then the team, whose adapters get the bindings of the host
    back; a switch to which VMs are connected is refused. For each step that was taken the command that undoes it is
    printed, also when a later step fails; install.ps1, which brings the filter back, brings the package back too.
    What is not there is passed over, so that the script can be run again.

.PARAMETER SettingsFile
    Where the settings are saved; by default below %ProgramData%\lbfoext.

.PARAMETER TeamName
    The switch team to remove with the switch on it.

.PARAMETER SwitchName
    That switch.

.EXAMPLE
    .\uninstall.ps1 -WhatIf

.EXAMPLE
    .\uninstall.ps1 -TeamName Uplinks -SwitchName External

.NOTES
    Exit codes: 0 done, 1 failed, 3010 done after the next restart of the computer.
    With -WhatIf the steps are named; nothing is changed.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess)]
param(
    [string] $TeamName,
    [string] $SwitchName,
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

# A name in the quotation marks that a command needs.
function Format-Name([string] $Name) {
    "'" + $Name.Replace("'", "''") + "'"
}

# Runs a program of the system and ends the script if it fails.
function Invoke-Tool([string] $Tool, [string[]] $Arguments) {
    & $Tool @Arguments | Out-Host
    if ($RestartNeeded -contains $LASTEXITCODE) {
        $script:ExitCode = 3010
    } elseif ($LASTEXITCODE -ne 0) {
        throw ('{0} failed with 0x{1:X8}.' -f $Tool, $LASTEXITCODE)
    }
}

function Assert-Team {
    if (-not ($TeamName -and $SwitchName)) { throw 'A team is removed with the switch on it: name TeamName and SwitchName.' }
    $switch = Get-VMSwitch | Where-Object { $_.Name -eq $SwitchName }
    if (-not $switch) { return }
    $team = Get-NetAdapter | Where-Object { $_.Name -eq $TeamName }
    if (-not $team -or $team.InterfaceDescription -ne $switch.NetAdapterInterfaceDescription) {
        throw "Switch '$SwitchName' is not on the team '$TeamName'."
    }
    $connected = @(Get-VMNetworkAdapter -VMName '*' | Where-Object { $_.SwitchName -eq $SwitchName } |
            ForEach-Object { $_.VMName })
    if ($connected) {
        throw "VMs are connected to switch '$SwitchName': $($connected -join ', '). " +
            'First: Disconnect-VMNetworkAdapter -VMName NAME, or connect them to another switch.'
    }
}

function Disable-Extension {
    if (-not (Get-Command Get-VMSwitch -ErrorAction SilentlyContinue)) { return }
    foreach ($switch in Get-VMSwitch) {
        $extension = $switch | Get-VMSwitchExtension | Where-Object { $_.Name -eq $ExtensionName -and $_.Enabled }
        if ($extension -and $PSCmdlet.ShouldProcess("switch '$($switch.Name)'", "Disable '$ExtensionName'")) {
            $extension | Disable-VMSwitchExtension | Out-Null
            $Undo.Push("Enable-VMSwitchExtension -VMSwitchName $(Format-Name $switch.Name) -Name '$ExtensionName'")
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

function Remove-Switch {
    $switch = Get-VMSwitch | Where-Object { $_.Name -eq $SwitchName }
    if (-not $switch) { return }
    if (-not $PSCmdlet.ShouldProcess("switch '$SwitchName'", 'Remove the switch')) { return }
    Remove-VMSwitch -Name $SwitchName -Force
    $Undo.Push("New-VMSwitch -Name $(Format-Name $SwitchName) -NetAdapterName $(Format-Name $TeamName) " +
        "-AllowManagementOS `$$($switch.AllowManagementOS)")
}

function Remove-Team {
    $members = @(Get-NetSwitchTeamMember | Where-Object { $_.Team -eq $TeamName } | ForEach-Object { Format-Name $_.Name })
    if (-not $members) { return }
    if (-not $PSCmdlet.ShouldProcess("switch team '$TeamName'", 'Remove the switch team')) { return }
    Remove-NetSwitchTeam -Name $TeamName -Confirm:$false
    $Undo.Push("New-NetSwitchTeam -Name $(Format-Name $TeamName) -TeamMembers $($members -join ',')")
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
    if ($TeamName -or $SwitchName) { Assert-Team }
    Disable-Extension
    Save-Settings
    if ($TeamName) {
        Remove-Switch
        Remove-Team
    }
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
